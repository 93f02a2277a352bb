//! The structures of OCSP (RFC 6960 §4.1.1, §4.2.1), as der's derives read and write them.

#![expect(clippy::unnested_or_patterns, reason = "der's derive of a CHOICE writes them")]

use der::asn1::{Any, GeneralizedTime, Null, ObjectIdentifier, OctetString};
use der::{Choice, Enumerated, Sequence};
use x509_cert::ext::Extensions;
use x509_cert::name::Name;
use x509_cert::spki::AlgorithmIdentifierOwned;

#[derive(Clone, Sequence)]
pub(super) struct CertId {
    pub(super) hash: AlgorithmIdentifierOwned,
    pub(super) issuer_name: OctetString,
    pub(super) issuer_key: OctetString,
    pub(super) serial: Any,
}

#[derive(Sequence)]
pub(super) struct Request {
    pub(super) certificate: CertId,
}

#[derive(Sequence)]
pub(super) struct TbsRequest {
    pub(super) requests: Vec<Request>,
    #[asn1(context_specific = "2", optional = "true")]
    pub(super) extensions: Option<Extensions>,
}

#[derive(Sequence)]
pub(super) struct OcspRequest {
    pub(super) request: TbsRequest,
}

#[derive(Clone, Copy, PartialEq, Eq, Enumerated)]
#[repr(u8)]
pub(super) enum ResponseStatus {
    Successful = 0,
    MalformedRequest = 1,
    InternalError = 2,
    TryLater = 3,
    SigRequired = 5,
    Unauthorized = 6,
}

#[derive(Sequence)]
pub(super) struct ResponseBytes {
    pub(super) kind: ObjectIdentifier,
    pub(super) response: OctetString,
}

#[derive(Sequence)]
pub(super) struct Response {
    pub(super) status: ResponseStatus,
    #[asn1(context_specific = "0", optional = "true")]
    pub(super) bytes: Option<ResponseBytes>,
}

#[derive(Choice)]
pub(super) enum ResponderId {
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", constructed = "true")]
    Name(Name),
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT", constructed = "true")]
    Key(OctetString),
}

#[derive(Sequence)]
pub(super) struct RevokedInfo {
    pub(super) time: GeneralizedTime,
    #[asn1(context_specific = "0", optional = "true")]
    pub(super) reason: Option<Any>,
}

#[derive(Choice)]
pub(super) enum Status {
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    Good(Null),
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", constructed = "true")]
    Revoked(RevokedInfo),
    #[asn1(context_specific = "2", tag_mode = "IMPLICIT")]
    Unknown(Null),
}

#[derive(Sequence)]
pub(super) struct Single {
    pub(super) certificate: CertId,
    pub(super) status: Status,
    pub(super) this_update: GeneralizedTime,
    #[asn1(context_specific = "0", optional = "true")]
    pub(super) next_update: Option<GeneralizedTime>,
    #[asn1(context_specific = "1", optional = "true")]
    pub(super) extensions: Option<Extensions>,
}

#[derive(Sequence)]
pub(super) struct ResponseData {
    #[asn1(context_specific = "0", default = "Default::default")]
    pub(super) version: u8,
    pub(super) responder: ResponderId,
    pub(super) produced: GeneralizedTime,
    pub(super) responses: Vec<Single>,
    #[asn1(context_specific = "1", optional = "true")]
    pub(super) extensions: Option<Extensions>,
}
