//! Through which certificates a client's path may go: by names alone, so it costs no signature and does not change with time.
//!
//! For indexes of what hangs on a certificate. It names every certificate that a path may go through, and may name more: no
//! decision rests on it.

use ward_core::crypto;

use crate::{Certificate, Community};

/// Certificates that are named at most; the client's own and its path come first.
const MOST: usize = 32;

/// The client's own certificate, those of a path that was found for it, those configured ones that may stand above any of
/// them or above what the client sent, and what it sent.
pub fn reach(
    leaf: &Certificate,
    sent: &[Certificate],
    found: &[Certificate],
    community: Option<&Community>,
) -> Vec<Certificate> {
    let mut reached: Vec<&Certificate> = vec![leaf];
    let add = |reached: &mut Vec<_>, one| {
        if !reached.contains(&one) {
            reached.push(one);
        }
    };
    for one in found {
        add(&mut reached, one);
    }
    let configured = community.map(|one| one.intermediates.iter().chain(&one.anchors));
    let configured: Vec<&Certificate> = configured.into_iter().flatten().collect();
    loop {
        let above = configured.iter().find(|one| {
            let below = reached.iter().copied().chain(sent);
            !reached.contains(*one)
                && below.into_iter().any(|it| it.issuer_der() == one.subject_der())
        });
        match above {
            Some(one) if reached.len() < MOST => reached.push(one),
            _ => break,
        }
    }
    for one in sent {
        add(&mut reached, one);
    }
    reached.into_iter().take(MOST).cloned().collect()
}

/// Digest of what [`reach`] depends on beside the client's certificates: who the community is and which authorities it has.
pub fn reach_digest(community: &Community) -> [u8; 32] {
    let uri = community.uri.as_str().as_bytes();
    let mut hashed = (uri.len() as u64).to_be_bytes().to_vec();
    hashed.extend_from_slice(uri);
    for list in [&community.anchors, &community.intermediates] {
        hashed.extend_from_slice(&(list.len() as u64).to_be_bytes());
        for one in list {
            hashed.extend_from_slice(&one.thumbprint().0);
        }
    }
    crypto::sha256(&[b"ward reach/1", &hashed])
}
