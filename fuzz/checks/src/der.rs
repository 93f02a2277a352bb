//! Certificates and revocation lists as they come in `x5c` and from distribution points (X19, R18, R20).
//!
//! Input: DER, read as both.

use ward_trust::{Certificate, Crl};

/// See the module.
pub fn check(data: &[u8]) -> bool {
    let (certificate, list) = (Certificate::from_der(data), Crl::from_der(data));
    let believed = certificate.is_ok() || list.is_ok();
    if let Ok(certificate) = certificate {
        assert_eq!(certificate.der(), data, "it is believed as it came");
        let _ = (certificate.subject_key(), certificate.has_strong_key(), certificate.is_ca());
        for uri in certificate.san_uris().iter().chain(certificate.crl_urls()) {
            assert!(uri.is_ascii(), "an IA5String");
        }
        assert_eq!(
            Certificate::from_der(data).ok().map(|c| c.thumbprint()),
            Some(certificate.thumbprint())
        );
    }
    if let Ok(list) = list {
        let _ = (list.this_update(), list.next_update(), list.is_revoked(&[1]), list.issuer_der());
    }
    believed
}
