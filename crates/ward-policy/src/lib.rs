//! May they. Pure.
//!
//! Who asks ([`Principal`], [`Grant`]), what is known ([`Facts`]), and the two locks of the door:
//! [`plan`] on the way in and [`judge`] on the way out (`enforcement.md` §3.1; house rules 1, 2, 6).
//! No clock, no network, no store: a decision of the log can be replayed from its inputs. The lock
//! on the way out alone is enough; the lock on the way in narrows, saves work and is never relied on.
//! Default deny: what no rule here allows is refused.

mod enforcement;
mod facts;
mod judge;
mod narrow;
mod plan;
mod policy;
mod principal;
mod resolve;

pub use enforcement::{ANONYMOUS, Caller, EVERYBODY_ELSE, Enforcement, Stance, Waiver};
pub use facts::{Facts, Roster};
pub use judge::{RECORD_RULES, Residual, Verdict, judge};
pub use plan::{Denial, DenialCode, Permit, Plan, plan, serves};
pub use policy::{INCOMPLETE_NOTICE, notice, policy_hash};
pub use principal::{Grant, Principal, Subject, SubjectError, scopes_shrink};
pub use resolve::{Presented, Recognised, Resolve, ResolveError};

#[cfg(test)]
mod tests;
