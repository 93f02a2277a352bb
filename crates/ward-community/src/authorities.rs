//! Which authorities a community has had, and which of them vouch for somebody now.
//!
//! A community begins with a root and an issuing authority. Each new key is another authority of the next generation, with a name, a
//! list and a place of its own; the elder ones go on beside it until nothing that they signed is good any longer.

use ward_core::Timestamp;
use ward_core::crypto::unhex;

use crate::register::{LastList, Later, Register, Revocation};
use crate::{Authority, AuthorityId};

impl Register {
    /// All that still vouch for somebody: roots first, each kind from the oldest to the newest.
    pub(crate) fn authorities(&self) -> Vec<AuthorityId> {
        let firsts = [Authority::Root, Authority::Issuing].map(Authority::first);
        let all = firsts.into_iter().chain(self.later.iter().map(|one| one.id));
        let mut found: Vec<_> = all.filter(|id| !self.ended.contains(id)).collect();
        found.sort_by_key(|id| (id.of != Authority::Root, id.generation));
        found
    }

    /// Those of one kind, oldest first.
    pub(crate) fn of_kind(&self, of: Authority) -> impl Iterator<Item = AuthorityId> {
        self.authorities().into_iter().filter(move |id| id.of == of)
    }

    /// The newest of its kind.
    pub(crate) fn current(&self, of: Authority) -> AuthorityId {
        self.of_kind(of).last().unwrap_or(of.first())
    }

    /// The root that everybody knows who is a member: the elder one while two are live.
    pub(crate) fn known_root(&self) -> AuthorityId {
        self.of_kind(Authority::Root).next().unwrap_or(Authority::Root.first())
    }

    /// The next one of its kind.
    pub(crate) fn next(&self, of: Authority) -> AuthorityId {
        let used = self.later.iter().filter(|one| one.id.of == of).map(|one| one.id.generation);
        AuthorityId { of, generation: used.max().unwrap_or(1) + 1 }
    }

    /// The last list of an authority; of one that signed none yet, number 0.
    pub(crate) fn last_list(&mut self, id: AuthorityId) -> &mut LastList {
        match (id.of, id.generation) {
            (Authority::Root, 1) => &mut self.root_list,
            (Authority::Issuing, 1) => &mut self.issuing_list,
            _ => {
                let at = self.later.iter().position(|one| one.id == id);
                let at = at.unwrap_or_else(|| {
                    self.later.push(Later { id, list: LastList::default() });
                    self.later.len() - 1
                });
                // The place was just found or made.
                self.later.get_mut(at).map_or(&mut self.issuing_list, |one| &mut one.list)
            }
        }
    }

    /// The number of its last list.
    pub(crate) fn number(&self, id: AuthorityId) -> u64 {
        match (id.of, id.generation) {
            (Authority::Root, 1) => self.root_list.number,
            (Authority::Issuing, 1) => self.issuing_list.number,
            _ => self.later.iter().find(|one| one.id == id).map_or(0, |one| one.list.number),
        }
    }

    /// What an issuing authority signed for members and for certifications: serial number, and whether it is revoked.
    pub(crate) fn issued_by(
        &self,
        id: AuthorityId,
    ) -> impl Iterator<Item = ([u8; 16], Option<Revocation>)> {
        let members = self.members.iter().map(|one| (one.issuer, Some(&one.serial), one.revoked));
        let certifications =
            self.certifications.iter().map(|one| (one.issuer, one.serial.as_ref(), one.revoked));
        members.chain(certifications).filter_map(move |(issuer, serial, revoked)| {
            Some((unhex::<16>(serial.filter(|_| issuer == id.generation)?)?, revoked))
        })
    }

    /// Elder issuing authorities of which nothing is good any longer.
    pub(crate) fn spent(&self, now: Timestamp) -> Vec<AuthorityId> {
        let current = self.current(Authority::Issuing);
        let has_some = |id: &AuthorityId| {
            let stands = |issuer: u32, until: Timestamp| issuer == id.generation && until >= now;
            self.members.iter().any(|one| stands(one.issuer, one.not_after))
                || self.certifications.iter().any(|one| stands(one.issuer, one.expires))
        };
        self.of_kind(Authority::Issuing).filter(|id| *id != current && !has_some(id)).collect()
    }
}
