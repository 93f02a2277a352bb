//! Which community vouches for a certificate (IG §3.4, §7.1.6; amendments §8.5, PKI-04).
//!
//! Nothing in a request names its community: each served one is tried, and the chain decides.
//! Revocation lists are fetched only for certificates on a path to a configured anchor, so that a
//! stranger cannot make Ward fetch anything. A list out of reach is 503, never a refusal and never a
//! yes.

use std::sync::Arc;
use std::time::Duration;

use ward_trust::{Chain, PathError, Verified};

use crate::config::Paths;
use crate::discovery::Served;

/// Why no community vouches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TrustError {
    /// Not trusted; the rule says why.
    Refused(&'static str),
    /// It cannot be known now.
    Unavailable(&'static str),
}

impl From<PathError> for TrustError {
    fn from(error: PathError) -> Self {
        if error.is_unavailable() {
            Self::Unavailable(error.rule())
        } else {
            Self::Refused(error.rule())
        }
    }
}

/// The rule of a certificate that a list names.
pub(crate) const REVOKED: &str = "X10";

/// The path from the signer of a JWS to an anchor of one community.
pub(crate) async fn path(
    jws: &Verified,
    served: &Served,
    paths: &dyn Paths,
    grace: Duration,
) -> Result<Chain, TrustError> {
    Ok(paths.path(jws.leaf(), jws.extra(), &served.community, grace).await?)
}

/// The one served community that vouches for the signer of a JWS.
pub(crate) async fn community(
    jws: &Verified,
    served: &[Arc<Served>],
    paths: &dyn Paths,
) -> Result<(Arc<Served>, Chain), TrustError> {
    const STRANGER: TrustError = TrustError::Refused("X06");
    let mut vouching = None;
    let mut worst = STRANGER;
    for one in served {
        match path(jws, one, paths, Duration::ZERO).await {
            Ok(_) if vouching.is_some() => {
                tracing::error!("two communities vouch for one certificate: mend their selectors");
                return Err(TrustError::Refused("X48"));
            }
            Ok(chain) => vouching = Some((one.clone(), chain)),
            Err(unavailable @ TrustError::Unavailable(_)) => worst = unavailable,
            // "Revoked" says more than "unknown root".
            Err(refused) if worst == STRANGER => worst = refused,
            Err(TrustError::Refused(_)) => {}
        }
    }
    match (vouching, worst) {
        // A community that may vouch too could not be asked: whose member this is stays open.
        (Some(_), unavailable @ TrustError::Unavailable(_)) => Err(unavailable),
        (Some(found), TrustError::Refused(_)) => Ok(found),
        (None, error) => Err(error),
    }
}
