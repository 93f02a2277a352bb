//! Members of whom a responder speaks instead of a list, what it says, and members that send no issuer.

use rcgen::{
    CustomExtension, ExtendedKeyUsagePurpose, KeyPair, PKCS_ECDSA_P256_SHA256, SigningKey as _,
};
use std::time::Duration;
use ward_core::{Clock as _, SystemClock};
use ward_trust::ocsp::{Respond, respond};
use ward_trust::{Certificate, CertificateStatus, OcspAnswer};

use super::authorities::{By, days, extension};
use super::{Key, Leaf, Member, Pki};

/// What the responder does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Says {
    Good,
    Revoked,
    Unknown,
    /// Good, for an hour that ended an hour ago: a grace may still hold.
    Late,
    /// Good, for an hour that ended two days ago.
    Stale,
    /// Good, signed by somebody who only has the issuer's name.
    Stranger,
    /// Good, signed by a responder that the issuer authorised.
    Responder,
    /// Good, signed by another member.
    Member,
    /// Good, signed by a responder whose certificate has ended.
    LateResponder,
    /// Good, signed by a responder that another authority authorised.
    ForeignResponder,
    /// Good, about another certificate of the same issuer.
    AboutAnother,
    /// Good, with a nonce that nobody asked for.
    Nonced,
    /// That it is busy: `tryLater`, unsigned.
    Busy,
    /// A page.
    Page,
    /// More than anybody should read.
    Huge,
}

/// authorityInfoAccess with one place: 1 OCSP, 2 caIssuers.
pub fn access(method: u8, url: &str) -> CustomExtension {
    let wrap = |tag: u8, content: &[u8]| {
        let mut out = vec![tag, u8::try_from(content.len()).unwrap()];
        out.extend(content);
        out
    };
    let mut place = vec![0x06, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, method];
    place.extend(wrap(0x86, url.as_bytes()));
    let content = wrap(0x30, &wrap(0x30, &place));
    extension(&[1, 3, 6, 1, 5, 5, 7, 1, 1], false, content)
}

impl Pki {
    /// A member without a list, and the answer of the responder that its certificate names.
    pub fn with_ocsp(&mut self, uri: &str, says: Says) -> Member {
        let path = format!("/ocsp-{}", self.next_serial);
        let place = access(1, &self.url(&path));
        let member = self.client_by(By::Issuing, uri, &[], |p| {
            p.crl_distribution_points = vec![];
            p.custom_extensions.push(place);
        });
        let (der, issuer) = (&member.chain[0], &self.issuing.der);
        let certificate = Certificate::from_der(der).unwrap();
        let issuer = Certificate::from_der(issuer).unwrap();
        let now = SystemClock.now();
        let ago = match says {
            Says::Late => 2,
            Says::Stale => 49,
            _ => 0,
        };
        let from = now.minus(Duration::from_hours(ago));
        let answer = OcspAnswer {
            status: match says {
                Says::Revoked => CertificateStatus::Revoked,
                Says::Unknown => CertificateStatus::Unknown,
                _ => CertificateStatus::Good,
            },
            this_update: from,
            next_update: from.plus(Duration::from_hours(1)),
        };
        let own = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let (mut params, _) = self.leaf_params(&Leaf::client("https://responder.example/"), 7);
        let authorised = [Says::Responder, Says::LateResponder, Says::ForeignResponder];
        params.extended_key_usages = if authorised.contains(&says) {
            vec![ExtendedKeyUsagePurpose::OcspSigning]
        } else {
            vec![ExtendedKeyUsagePurpose::ClientAuth]
        };
        if says == Says::LateResponder {
            (params.not_before, params.not_after) = (days(-9), days(-1));
        }
        let no_check = extension(&[1, 3, 6, 1, 5, 5, 7, 48, 1, 5], false, vec![5, 0]);
        params.custom_extensions.push(no_check);
        let by = if says == Says::ForeignResponder { &self.root } else { &self.issuing };
        let delegate = params.signed_by(&own, &by.issuer).unwrap();
        let delegate = Certificate::from_der(delegate.der()).unwrap();
        let (responder, key) = match says {
            Says::Responder | Says::Member | Says::LateResponder | Says::ForeignResponder => {
                (&delegate, &own)
            }
            Says::Stranger => (&issuer, &own),
            _ => (&issuer, self.issuing.issuer.key()),
        };
        let about = Respond {
            serial: if says == Says::AboutAnother { &[7] } else { certificate.serial() },
            issuer: &issuer,
            answer,
            responder,
            certificates: &[&delegate],
            nonce: (says == Says::Nonced).then_some(&[9; 16][..]),
        };
        let ecdsa_sha256 = [0x30, 10, 0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2].to_vec();
        let signed = respond(&about, |tbs| Ok((ecdsa_sha256, key.sign(tbs).unwrap()))).unwrap();
        let said = match says {
            Says::Busy => vec![0x30, 3, 0x0a, 1, 3],
            Says::Page => b"<html>".to_vec(),
            Says::Huge => vec![0x30; 8 << 20],
            _ => signed,
        };
        self.put_file(&path, said);
        member
    }

    /// A member that sends its own certificate alone; what stands at the place of its issuer.
    pub fn alone(&mut self, uri: &str, place: Option<Vec<u8>>) -> Member {
        let path = format!("/issuer-{}.cer", self.next_serial);
        let named = access(2, &self.url(&path));
        let member = self.client_by(By::Issuing, uri, &[], |p| p.custom_extensions.push(named));
        self.put_file(&path, place.unwrap_or_else(|| self.issuing.der.clone()));
        Member { chain: vec![member.chain[0].clone()], ..member }
    }

    /// A server that sends its own certificate alone; its issuer stands where the certificate says (CLI-08).
    pub fn alone_server(&mut self, base: &str) -> Member {
        self.next_serial += 1;
        let serial = self.next_serial;
        let path = format!("/issuer-{serial}.cer");
        let leaf = Leaf { key: Key::Rsa, ..Leaf::client(base) };
        let (mut params, pair) = self.leaf_params(&leaf, serial);
        params.custom_extensions.push(access(2, &self.url(&path)));
        let der = params.signed_by(&pair, &self.issuing.issuer).unwrap().der().to_vec();
        self.put_file(&path, self.issuing.der.clone());
        super::member(vec![der], &pair, serial)
    }
}
