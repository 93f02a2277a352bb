//! What `ward.toml` may say, as one table: it drives the errors that name the nearest right key, the
//! JSON schema and the reference; tests hold it to the structures that `serde` reads.

/// What a value is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// A path; relative ones start at the directory of the configuration file.
    Path,
    /// `address:port` to listen on.
    Address,
    /// true or false.
    Flag,
    /// A whole number.
    Count {
        /// Least.
        min: u64,
        /// Most.
        max: u64,
    },
    /// Bytes.
    Size {
        /// Least, bytes.
        min: u64,
        /// Most, bytes.
        max: u64,
    },
    /// A duration.
    Span {
        /// Least, milliseconds.
        min: u64,
        /// Most, milliseconds.
        max: u64,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list.
    List(&'static Self),
    /// A table.
    Table(&'static Section),
    /// `[[name]]`: any number of tables.
    Tables(&'static Section),
    /// A table whose keys are free, or one of these.
    Map(Option<&'static [&'static str]>, &'static Self),
}

impl Kind {
    /// What a person should write.
    pub(crate) fn expects(&self) -> String {
        match self {
            Self::Text => "text in quotes".to_owned(),
            Self::Path => "a path in quotes".to_owned(),
            Self::Address => "an address and port in quotes, as \"0.0.0.0:443\"".to_owned(),
            Self::Flag => "true or false".to_owned(),
            Self::Count { .. } => "a whole number".to_owned(),
            Self::Size { .. } => "a size, as \"64KiB\" or a number of bytes".to_owned(),
            Self::Span { .. } => {
                "a duration with its unit, as \"10s\", \"5m\" or \"1h\"".to_owned()
            }
            Self::Choice(words) => format!("one of {}", quoted(words)),
            Self::List(item) => format!("a list, each item {}", item.expects()),
            Self::Table(_) | Self::Map(..) => "a table".to_owned(),
            Self::Tables(_) => "a list of tables, written with [[double brackets]]".to_owned(),
        }
    }
}

/// Words in backquotes.
pub(crate) fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}

/// Whether a key must be there.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Need {
    /// It must.
    Required,
    /// It need not, and means this then (as TOML).
    Default(&'static str),
    /// It need not, and means nothing then.
    Optional,
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) need: Need,
    pub(crate) doc: &'static str,
}

/// One table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Section {
    pub(crate) doc: &'static str,
    pub(crate) fields: &'static [Field],
}

const fn field(name: &'static str, kind: Kind, need: Need, doc: &'static str) -> Field {
    Field { name, kind, need, doc }
}

use Need::{Default, Optional, Required};

/// Codes of the purposes of use.
pub(crate) const PURPOSES: &[&str] =
    &["TREAT", "HPAYMT", "HOPERAT", "PUBHLTH", "HRESCH", "PATRQT", "ELIGDTRM", "SYSDEV"];
const MODES: &[&str] = &["observe", "enforce"];
const LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];
const DAY: u64 = 86_400_000;

static LISTEN: Section = Section {
    doc: "Where Ward listens, and under which name partners know it.",
    fields: &[
        field("address", Kind::Address, Required, "Address and port of this machine."),
        field(
            "origin",
            Kind::Text,
            Required,
            "The public origin that partners use: https://host or https://host:port. Every URL that Ward publishes begins with it; the Host header never decides.",
        ),
        field(
            "certificate",
            Kind::Path,
            Required,
            "TLS certificate chain, PEM, leaf first: web PKI, not the community's. Renewed files are taken up without a restart.",
        ),
        field(
            "key",
            Kind::Path,
            Required,
            "Its private key, PEM, PKCS#8, readable by Ward's account only.",
        ),
        field(
            "tls12",
            Kind::Flag,
            Default("false"),
            "Speak TLS 1.2 as well as 1.3, for partners that cannot do better.",
        ),
    ],
};
static UPSTREAM: Section = Section {
    doc: "The FHIR R4 server behind Ward. Nothing else should be able to reach it.",
    fields: &[
        field(
            "base",
            Kind::Text,
            Required,
            "Its FHIR base, http or https. Paging links that it hands out must begin with it.",
        ),
        field(
            "allow_private",
            Kind::Flag,
            Default("false"),
            "Set it if the server has a private or loopback address; Ward calls no such address without.",
        ),
        field(
            "ca",
            Kind::Path,
            Optional,
            "PEM of the authorities that its TLS certificate may come from; without it those of the system.",
        ),
        field(
            "authorization_file",
            Kind::Path,
            Optional,
            "A file that holds the value of the Authorization header to send to it (\"Bearer …\" or \"Basic …\"), readable by Ward's account only. Taken up anew when it is written.",
        ),
    ],
};
static COMMUNITY: Section = Section {
    doc: "A trust community whose members may register. Repeat the table for each.",
    fields: &[
        field("uri", Kind::Text, Required, "Its URI, exactly as the community writes it."),
        field(
            "anchors",
            Kind::Path,
            Required,
            "PEM of its root certificates. Members are believed through a path to one of these.",
        ),
        field(
            "intermediates",
            Kind::Path,
            Optional,
            "PEM of issuing authorities that members forget to send.",
        ),
        field(
            "issuing",
            Kind::Path,
            Optional,
            "PEM of the authorities that alone issue to its members. Needed if it shares a root with another community and their uri_prefixes do not differ; without it any authority below a root may.",
        ),
        field(
            "certificate",
            Kind::Path,
            Required,
            "The certificate that the community issued to this server, PEM, leaf first, without the root. One of its SAN URIs is <origin>/default/fhir.",
        ),
        field(
            "key",
            Kind::Path,
            Required,
            "Its private key: RSA from 2048 bits, PEM, PKCS#8, readable by Ward's account only.",
        ),
        field(
            "purposes",
            Kind::List(&Kind::Choice(PURPOSES)),
            Default("[\"TREAT\"]"),
            "Purposes of use that its members may assert.",
        ),
        field(
            "organization_schemes",
            Kind::List(&Kind::Text),
            Default("[\"urn:oid:\", \"https:\"]"),
            "What an organization_id may begin with.",
        ),
        field(
            "revocation_grace",
            Kind::Span { min: 0, max: 7 * DAY },
            Default("\"24h\""),
            "How long registered clients go on when no newer revocation list or OCSP answer can be had. \"0s\": not at all.",
        ),
        field(
            "profile",
            Kind::Choice(&["stu1", "stu2", "tefca"]),
            Default("\"stu2\""),
            "The edition that its members follow. stu2: STU 2.0.0. stu1: STU 1.0.0, in which scope is optional; nothing else is lenient. tefca: stu2 with TEFCA's exchange purposes, unverified against its SOPs (docs/profiles.md).",
        ),
        field(
            "max_purposes",
            Kind::Count { min: 1, max: 20 },
            Optional,
            "At most so many purposes of use in one request; 1: a second purpose needs a second token. Always 1 in the profile tefca.",
        ),
        field(
            "bare_purposes",
            Kind::Flag,
            Default("false"),
            "Take a purpose without its code system too, as \"TREAT\" for \"urn:oid:2.16.840.1.113883.5.8#TREAT\". The Inferno kit sends \"SYSDEV\" so.",
        ),
        field(
            "subject_id_systems",
            Kind::List(&Kind::Text),
            Default("[]"),
            "Naming systems of which a subject_id must have one, as \"urn:oid:2.16.840.1.113883.4.6\" for the NPI. Empty: any; an NPI must have its check digit in any case.",
        ),
        field(
            "subject_roles",
            Kind::List(&Kind::Text),
            Default("[]"),
            "Values of which a subject_role must be one. What ends in # is a code system and admits all its codes, as \"http://nucc.org/provider-taxonomy#\". Empty: any.",
        ),
        field(
            "consent_policies",
            Kind::List(&Kind::Text),
            Default("[]"),
            "Policies that a request may name in consent_policy. Empty: any. What is named is recorded, and opens nothing.",
        ),
        field(
            "consent_required",
            Kind::List(&Kind::Text),
            Default("[]"),
            "Policies of which each request must name one in consent_policy; else the answer says which. Empty: none need be named.",
        ),
        field(
            "consent_form",
            Kind::Text,
            Optional,
            "Where a form for the consent is found, an https URL: told to those who lack it.",
        ),
        field(
            "unknown_extensions",
            Kind::Choice(&["ignore", "refuse"]),
            Default("\"ignore\""),
            "What becomes of a request that carries an authorization extension object of a name that is not known here.",
        ),
        field(
            "hl7_b2b_user",
            Kind::Choice(&["off", "supported", "required"]),
            Default("\"off\""),
            "The object hl7-b2b-user, in which a machine names the person for whom it asks. off: it is not known here. supported: checked where it is sent. required: no token without. Of the person a digest is kept.",
        ),
        field(
            "identity_provider",
            Kind::Tables(&IDENTITY_PROVIDER),
            Optional,
            IDENTITY_PROVIDER.doc,
        ),
        field(
            "policies",
            Kind::List(&Kind::Text),
            Default("[]"),
            "Certificate policy OIDs of which a member must carry one that every authority below the root asserts too. They alone do not tell two communities with one root apart: a certificate can carry both.",
        ),
        field(
            "uri_prefixes",
            Kind::List(&Kind::Text),
            Default("[]"),
            "Prefixes of which every URI of a member's certificate must have one; each ends in / (or is a scheme or the beginning of a URN and ends in :).",
        ),
        field(
            "require_revocation",
            Kind::Flag,
            Default("true"),
            "Demand a current revocation list for every certificate. Set false only for a community that publishes none.",
        ),
        field(
            "allow_private",
            Kind::List(&Kind::Text),
            Default("[]"),
            "host:port of servers of its revocation lists, OCSP answers, issuers and trust bundle that have private addresses.",
        ),
        field(
            "bundle",
            Kind::Text,
            Optional,
            "Where its operator publishes the signed trust bundle, as \"https://community.example/bundle.jwt\", or a file. Ward follows it: its anchors take the place of `anchors`, which only says whom to believe at first, and what it narrows is narrowed.",
        ),
        field(
            "signals_from",
            Kind::Text,
            Optional,
            "The URI in whose name its operator sends signals, if that is not the community's own: the only SAN URI of the certificate that signs them. Signals come to <origin>/default/signals; give the operator that address.",
        ),
        field("certification", Kind::Tables(&CERTIFICATION), Optional, CERTIFICATION.doc),
    ],
};
static IDENTITY_PROVIDER: Section = Section {
    doc: "Who vouches for individuals in tefca_ias (profile tefca): a credential service provider. Without one, no individual access is granted.",
    fields: &[
        field("issuer", Kind::Text, Required, "Its issuer, exactly as its tokens have it in iss."),
        field(
            "jwks",
            Kind::Path,
            Required,
            "Its keys: a JWK Set, JSON. Nothing is fetched; renew the file when it renews its keys, and reload.",
        ),
        field(
            "audiences",
            Kind::List(&Kind::Text),
            Required,
            "Home community ids of the providers of individual access whose tokens are taken, as \"urn:oid:2.16…\".",
        ),
        field(
            "max_age",
            Kind::Span { min: 60_000, max: DAY },
            Default("\"1h\""),
            "How long after its making a token is good at most.",
        ),
    ],
};
static CERTIFICATION: Section = Section {
    doc: "A certification that the community's clients may show when they register, or must. Repeat the table for each.",
    fields: &[
        field("uri", Kind::Text, Required, "Its URI, exactly as it stands in certification_uris."),
        field(
            "required",
            Kind::Flag,
            Default("false"),
            "Nobody registers or gets a token without it.",
        ),
        field(
            "anchors",
            Kind::Path,
            Optional,
            "PEM of the root certificates of those who certify. Without it certifiers are believed under the community's own roots, but only those that `certifiers` or the trust bundle names, and the community itself by its own URI.",
        ),
        field(
            "certifiers",
            Kind::List(&Kind::Text),
            Default("[]"),
            "URIs of those who may certify, as in `iss` and in their certificates. Empty, with `anchors`: all under these.",
        ),
        field(
            "declared",
            Kind::Flag,
            Default("false"),
            "The client signs it itself: a declaration, no third party's word.",
        ),
        field(
            "unlocks",
            Kind::List(&Kind::Text),
            Default("[]"),
            "Scopes beyond scopes.supported that clients which show it can be granted, as \"system/*.rs\".",
        ),
    ],
};
static SCOPES: Section = Section {
    doc: "What partners can be granted.",
    fields: &[field(
        "supported",
        Kind::List(&Kind::Text),
        Required,
        "SMART system scopes, as \"system/Patient.rs\". Nothing beyond these is granted.",
    )],
};
const PATIENTS: Kind = Kind::Count { min: 1, max: 4_294_967_295 };
const WINDOW: Kind = Kind::Span { min: 60_000, max: 30 * DAY };
static CEILING: Section = Section {
    doc: "The ceiling for one purpose of use.",
    fields: &[
        field("patients", PATIENTS, Required, "Distinct patients."),
        field("window", WINDOW, Required, "Within how long."),
    ],
};
static DETECTION: Section = Section {
    doc: "What is normal. A client that touches more distinct patients for one purpose loses its grant.",
    fields: &[
        field(
            "patients",
            PATIENTS,
            Default("500"),
            "Distinct patients of one client for one purpose.",
        ),
        field("window", WINDOW, Default("\"1h\""), "Within how long."),
        field(
            "purposes",
            Kind::Map(Some(PURPOSES), &Kind::Table(&CEILING)),
            Optional,
            "Another ceiling for one purpose, as [detection.purposes.HRESCH].",
        ),
    ],
};
static ADMIN: Section = Section {
    doc: "Health, metrics and operators' commands; never for partners.",
    fields: &[field(
        "address",
        Kind::Address,
        Default("\"127.0.0.1:8444\""),
        "Where it listens. Keep it on loopback or a management network.",
    )],
};
static KEYS: Section = Section {
    doc: "What opens the vault of Ward's keys. One of the two; back it up apart from the data.",
    fields: &[
        field(
            "key_file",
            Kind::Path,
            Optional,
            "A file of 32 random octets; `ward init` makes it.",
        ),
        field(
            "passphrase_file",
            Kind::Path,
            Optional,
            "A file that holds a passphrase; a trailing line break does not count.",
        ),
    ],
};
static DIAGNOSTICS: Section = Section {
    doc: "What Ward says on standard error. It never holds patients' data or secrets.",
    fields: &[
        field(
            "format",
            Kind::Choice(&["text", "json"]),
            Default("\"text\""),
            "Lines for people or one JSON object a line.",
        ),
        field("level", Kind::Choice(LEVELS), Default("\"info\""), "How much."),
    ],
};
static OBSERVE: Section = Section {
    doc: "While mode is observe: who and what is enforced already. `ward report would-refuse` says which lines to write here. What says enforce wins.",
    fields: &[
        field(
            "clients",
            Kind::Map(None, &Kind::Choice(MODES)),
            Optional,
            "By the client's URI or id, as \"https://partner.example/app\" = \"enforce\"; \"anonymous\" for callers without a token of Ward's, \"*\" for all that are not named.",
        ),
        field(
            "rules",
            Kind::Map(None, &Kind::Choice(MODES)),
            Optional,
            "By id of the rule, for every client, as ROSTER = \"enforce\".",
        ),
    ],
};

/// The whole file.
pub(crate) static ROOT: Section = Section {
    doc: "Configuration of Ward (`ward.toml`). Relative paths start at the directory of the file.",
    fields: &[
        field(
            "mode",
            Kind::Choice(MODES),
            Default("\"enforce\""),
            "observe: decide and log, block nothing; begin with it, read `ward report would-refuse`, then switch client by client (docs/observe.md). enforce: block what the rules refuse; nothing else is a guarantee.",
        ),
        field(
            "data",
            Kind::Path,
            Default("\"data\""),
            "Directory of Ward's state: vault, store and log. On a local disk.",
        ),
        field("listen", Kind::Table(&LISTEN), Required, LISTEN.doc),
        field("upstream", Kind::Table(&UPSTREAM), Required, UPSTREAM.doc),
        field("community", Kind::Tables(&COMMUNITY), Required, COMMUNITY.doc),
        field("scopes", Kind::Table(&SCOPES), Required, SCOPES.doc),
        field("detection", Kind::Table(&DETECTION), Optional, DETECTION.doc),
        field("admin", Kind::Table(&ADMIN), Optional, ADMIN.doc),
        field("keys", Kind::Table(&KEYS), Required, KEYS.doc),
        field("diagnostics", Kind::Table(&DIAGNOSTICS), Optional, DIAGNOSTICS.doc),
        field("observe", Kind::Table(&OBSERVE), Optional, OBSERVE.doc),
        field("limits", Kind::Table(&super::limits::SECTION), Optional, super::limits::SECTION.doc),
    ],
};

/// Where a key of this name stands, as `listen.certificate`, other than in `besides`.
pub(crate) fn places(name: &str, besides: &Section) -> Vec<String> {
    let tables = ROOT.fields.iter().filter_map(|field| match field.kind {
        Kind::Table(section) | Kind::Tables(section) => Some((field.name, section)),
        _ => None,
    });
    tables
        .filter(|(_, section)| !std::ptr::eq(*section, besides))
        .filter(|(_, section)| section.fields.iter().any(|field| field.name == name))
        .map(|(table, _)| format!("{table}.{name}"))
        .collect()
}
