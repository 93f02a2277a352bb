//! Certificates, revocation lists, OCSP requests and answers as they come in `x5c` and from the places that certificates name
//! (X19, X22, X25, R18, R20).
//!
//! Input: DER, read as all of them.

use ward_core::Timestamp;
use ward_trust::ocsp::Question;
use ward_trust::{Certificate, Crl, OcspResponse};

/// See the module.
pub fn check(data: &[u8]) -> bool {
    let (certificate, list) = (Certificate::from_der(data), Crl::from_der(data));
    let answer = OcspResponse::from_der(data);
    let question = Question::from_der(data);
    if let Ok(question) = &question {
        let asked = question.serials().count();
        assert!((1..=8).contains(&asked), "{asked} certificates in one request");
        let plain = question.is_plain();
        assert!(!plain || asked == 1, "one answer for everybody is about one certificate");
    }
    let believed = certificate.is_ok() || list.is_ok() || answer.is_ok() || question.is_ok();
    if let Ok(certificate) = certificate {
        assert_eq!(certificate.der(), data, "it is believed as it came");
        let _ = (certificate.subject_key(), certificate.has_strong_key(), certificate.is_ca());
        let places = certificate.crl_urls().iter().chain(certificate.ca_issuer_urls());
        for uri in certificate.san_uris().iter().chain(places).chain(certificate.ocsp_urls()) {
            assert!(uri.is_ascii(), "an IA5String");
        }
        assert_eq!(
            Certificate::from_der(data).ok().map(|c| c.thumbprint()),
            Some(certificate.thumbprint())
        );
    }
    if let (Ok(answer), Some(stranger)) = (answer, stranger()) {
        let believed = answer.about(&stranger, &stranger, Timestamp::from_seconds(1_800_000_000));
        assert!(believed.is_err(), "nobody signs for this certificate: its key is gone");
    }
    if let Ok(list) = list {
        let _ = (list.this_update(), list.next_update(), list.is_revoked(&[1]), list.issuer_der());
    }
    believed
}

/// A certificate of the corpus, whose key nobody has kept.
fn stranger() -> Option<Certificate> {
    static STRANGER: std::sync::OnceLock<Option<Certificate>> = std::sync::OnceLock::new();
    let read = || Certificate::from_der(include_bytes!("../../corpus/der/root")).ok();
    STRANGER.get_or_init(read).clone()
}
