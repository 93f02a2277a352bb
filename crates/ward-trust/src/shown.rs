//! What of a certificate or list is shown to a person: names and numbers as text. For display and for finding a
//! certificate by what stands on it; no decision rests on it. Control characters do not come out, and no text is
//! longer than a line.

use der::oid::AssociatedOid as _;
use der::{Decode as _, Reader as _, SliceReader};
use x509_cert::ext::Extensions;
use x509_cert::ext::pkix::CrlNumber;
use x509_cert::name::Name;

use crate::{Certificate, Crl};

/// Longest name that is shown, octets.
const NAME: usize = 256;

/// A name as RFC 4514 writes it; empty if it cannot be read.
fn name(der: &[u8]) -> String {
    let text = Name::from_der(der).map(|name| name.to_string()).unwrap_or_default();
    let mut text: String = text.chars().filter(|letter| !letter.is_control()).collect();
    text.truncate(text.floor_char_boundary(NAME));
    text
}

impl Certificate {
    /// Its subject, as RFC 4514 writes it.
    pub fn subject_text(&self) -> String {
        name(self.subject_der())
    }

    /// Its issuer, as RFC 4514 writes it.
    pub fn issuer_text(&self) -> String {
        name(self.issuer_der())
    }

    /// Its serial number, lower-case hexadecimal without leading zero octets.
    pub fn serial_text(&self) -> String {
        let serial = self.serial();
        let first = serial.iter().position(|octet| *octet != 0).unwrap_or(0);
        ward_core::crypto::hex(serial.get(first..).unwrap_or_default())
    }
}

/// `cRLNumber` among the extensions of a list's signed part (RFC 5280 §5.2.3), hexadecimal.
pub(crate) fn crl_number(tbs: &[u8]) -> Option<String> {
    // `crlExtensions` is the last part of it, under the tag [0].
    const EXTENSIONS: u8 = 0xa0;
    let mut last = None;
    let read = SliceReader::new(tbs).and_then(|mut reader| {
        reader.sequence(|inner| {
            while !inner.is_finished() {
                last = Some(inner.tlv_bytes()?);
            }
            der::Result::Ok(())
        })
    });
    read.ok()?;
    let last: &[u8] = last.filter(|tlv| tlv.first() == Some(&EXTENSIONS))?;
    let inside = der::asn1::AnyRef::from_der(last).ok()?;
    let extensions = Extensions::from_der(inside.value()).ok()?;
    let number = extensions.iter().find(|one| one.extn_id == CrlNumber::OID)?;
    let number = CrlNumber::from_der(number.extn_value.as_bytes()).ok()?;
    Some(ward_core::crypto::hex(number.0.as_bytes()))
}

impl Crl {
    /// Whether the other says the same, to the octet.
    pub fn is_same(&self, other: &Self) -> bool {
        self.tbs() == other.tbs()
    }

    /// Its number, hexadecimal; `None` if it has none.
    pub fn number(&self) -> Option<String> {
        crl_number(self.tbs())
    }
}
