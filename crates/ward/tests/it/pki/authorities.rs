//! More of the test PKI, for rows that need more than one good issuing authority: further roots and
//! authorities, members that differ in one thing, and lists that lie.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
    CustomExtension, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber, SigningKey as _,
};
use std::time::Duration;

use super::{Key, Leaf, Member, Pki, ca_params, key, member, now};

/// An authority made for a row.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub der: Vec<u8>,
    /// Where its list is, a path.
    pub path: String,
    serial: u64,
}

/// Who signs.
#[derive(Clone, Copy)]
pub enum By<'a> {
    /// The test's root.
    Root,
    /// The test's issuing authority.
    Issuing,
    /// One made for a row.
    Other(&'a Authority),
}

/// An extension that nobody marks as known.
pub fn extension(oid: &[u64], critical: bool, content: Vec<u8>) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(oid, content);
    extension.set_criticality(critical);
    extension
}

impl Pki {
    fn serial(&mut self) -> u64 {
        self.next_serial += 1;
        self.next_serial
    }

    /// The address of a path on the server of lists.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn sign(&self, params: &CertificateParams, pair: &KeyPair, by: By<'_>) -> Vec<u8> {
        let issuer = match by {
            By::Root => &self.root.issuer,
            By::Issuing => &self.issuing.issuer,
            By::Other(authority) => &authority.issuer,
        };
        params.signed_by(pair, issuer).unwrap().der().to_vec()
    }

    /// Where the issuer's list is.
    fn list_of(&self, by: By<'_>) -> String {
        match by {
            By::Root => self.url("/root.crl"),
            By::Issuing => self.url("/issuing.crl"),
            By::Other(authority) => self.url(&authority.path),
        }
    }

    /// Another root, with a good list.
    pub fn another_root(
        &mut self,
        name: &str,
        edit: impl FnOnce(&mut CertificateParams),
    ) -> Authority {
        let (serial, pair) = (self.serial(), key(Key::P256));
        let mut params = ca_params(name, 1, serial);
        edit(&mut params);
        let der = params.self_signed(&pair).unwrap().der().to_vec();
        let path = format!("/{serial}.crl");
        let made = Authority { issuer: Issuer::new(params, pair), der, path, serial };
        self.put_list(&made, |_| {});
        made
    }

    /// An authority under another, with a good list.
    pub fn authority(
        &mut self,
        by: By<'_>,
        name: &str,
        edit: impl FnOnce(&mut CertificateParams),
    ) -> Authority {
        let (serial, pair) = (self.serial(), key(Key::P256));
        let mut params = ca_params(name, 0, serial);
        params.crl_distribution_points =
            vec![CrlDistributionPoint { uris: vec![self.list_of(by)] }];
        edit(&mut params);
        let der = self.sign(&params, &pair, by);
        let path = format!("/{serial}.crl");
        let made = Authority { issuer: Issuer::new(params, pair), der, path, serial };
        self.put_list(&made, |_| {});
        made
    }

    /// The same authority, by the same key, certified by another root: a cross-certificate.
    pub fn certified_again(&mut self, authority: &Authority, name: &str, by: By<'_>) -> Vec<u8> {
        let serial = self.serial();
        let mut params = ca_params(name, 0, serial);
        params.crl_distribution_points =
            vec![CrlDistributionPoint { uris: vec![self.list_of(by)] }];
        let pair = KeyPair::try_from(authority.issuer.key().serialize_der()).unwrap();
        self.sign(&params, &pair, by)
    }

    /// A good client's certificate with one thing changed; `above` goes along in `x5c`.
    pub fn client_by(
        &mut self,
        by: By<'_>,
        uri: &str,
        above: &[&[u8]],
        edit: impl FnOnce(&mut CertificateParams),
    ) -> Member {
        let serial = self.serial();
        let (mut params, pair) = self.leaf_params(&Leaf::client(uri), serial);
        params.crl_distribution_points =
            vec![CrlDistributionPoint { uris: vec![self.list_of(by)] }];
        edit(&mut params);
        let mut chain = vec![self.sign(&params, &pair, by)];
        if matches!(by, By::Issuing) {
            chain.push(self.issuing.der.clone());
        }
        chain.extend(above.iter().map(|der| der.to_vec()));
        member(chain, &pair, serial)
    }

    /// A certificate of any authority for a key of somebody else's; the chain, `above` included.
    pub fn certify_by(
        &mut self,
        by: By<'_>,
        leaf: &Leaf,
        pair: &KeyPair,
        above: &[&[u8]],
    ) -> Vec<Vec<u8>> {
        let serial = self.serial();
        let (mut params, _) = self.leaf_params(leaf, serial);
        params.crl_distribution_points =
            vec![CrlDistributionPoint { uris: vec![self.list_of(by)] }];
        let mut chain = vec![self.sign(&params, pair, by)];
        if matches!(by, By::Issuing) {
            chain.push(self.issuing.der.clone());
        }
        chain.extend(above.iter().map(|der| der.to_vec()));
        chain
    }

    /// Publishes the list of an authority, changed by the row.
    pub fn put_list(
        &self,
        authority: &Authority,
        edit: impl FnOnce(&mut CertificateRevocationListParams),
    ) {
        let der = Self::list_by(&authority.issuer, edit);
        self.put_file(&authority.path, der);
    }

    /// Publishes for one authority a list that another signed.
    pub fn put_foreign_list(&self, authority: &Authority, signer: &Authority) {
        self.put_file(&authority.path, Self::list_by(&signer.issuer, |_| {}));
    }

    /// Publishes a good list with one more extension, which rcgen does not know.
    pub fn put_list_with(&self, authority: &Authority, oid: &[u8], critical: bool, content: &[u8]) {
        let list = Self::list_by(&authority.issuer, |_| {});
        let [whole, _] = split(&list);
        let [tbs, rest] = split(whole);
        // The extensions come last: [0] { SEQUENCE { ... } }.
        let mut fields = vec![];
        let mut left = tbs;
        while !left.is_empty() {
            let length = left.len() - split(left)[1].len();
            fields.push(&left[..length]);
            left = &left[length..];
        }
        let [extensions, _] = split(split(fields.pop().unwrap())[0]);
        let critical: &[u8] = if critical { &[1, 1, 0xff] } else { &[] };
        let more = tlv(0x30, &[&tlv(6, oid)[..], critical, &tlv(4, content)].concat());
        let extensions = tlv(0xa0, &tlv(0x30, &[extensions, &more].concat()));
        let tbs = tlv(0x30, &[fields.concat(), extensions].concat());
        let algorithm = &rest[..rest.len() - split(rest)[1].len()];
        let signature = authority.issuer.key().sign(&tbs).unwrap();
        let signature = tlv(3, &[&[0], &signature[..]].concat());
        self.put_file(&authority.path, tlv(0x30, &[&tbs[..], algorithm, &signature].concat()));
    }

    /// Publishes anything.
    pub fn put_file(&self, path: &str, bytes: Vec<u8>) {
        self.lists.files.lock().unwrap().insert(path.to_owned(), bytes);
    }

    /// Takes a file away.
    pub fn withdraw(&self, path: &str) {
        self.lists.files.lock().unwrap().remove(path);
    }

    /// From now on this certificate is on the root's list.
    pub fn revoke_authority(&mut self, authority: &Authority) {
        self.root.revoked.push(authority.serial);
        self.publish();
    }

    fn list_by(
        issuer: &Issuer<'static, KeyPair>,
        edit: impl FnOnce(&mut CertificateRevocationListParams),
    ) -> Vec<u8> {
        let issued = now() - Duration::from_secs(5);
        let mut params = CertificateRevocationListParams {
            this_update: issued,
            next_update: issued + Duration::from_hours(1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: vec![],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        edit(&mut params);
        params.signed_by(issuer).unwrap().der().to_vec()
    }
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 128 => out.push(short),
        Ok(long) => out.extend([0x81, long]),
        Err(_) => {
            out.push(0x82);
            out.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
    }
    out.extend_from_slice(content);
    out
}

/// The content of the first element, and what follows it.
fn split(der: &[u8]) -> [&[u8]; 2] {
    let (skip, length) = match der[1] {
        short @ ..128 => (2, usize::from(short)),
        more => {
            let octets = usize::from(more - 128);
            let length = der[2..2 + octets].iter().fold(0, |sum, one| sum << 8 | usize::from(*one));
            (2 + octets, length)
        }
    };
    [&der[skip..skip + length], &der[skip + length..]]
}

/// An entry of a list.
pub fn entry(serial: u64, reason: Option<rcgen::RevocationReason>) -> RevokedCertParams {
    RevokedCertParams {
        serial_number: SerialNumber::from(serial),
        revocation_time: now() - Duration::from_mins(1),
        reason_code: reason,
        invalidity_date: None,
    }
}

/// No authority at all, but for its name.
pub fn no_authority(params: &mut CertificateParams) {
    params.is_ca = IsCa::ExplicitNoCa;
}

/// An authority that may not sign certificates.
pub fn signs_no_certificates(params: &mut CertificateParams) {
    params.key_usages = vec![KeyUsagePurpose::CrlSign];
}

/// So many authorities may stand below.
pub fn depth(params: &mut CertificateParams, below: u8) {
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
}

/// Time so many days from now.
pub fn days(from_now: i64) -> time::OffsetDateTime {
    now() + time::Duration::days(from_now)
}
