//! `[limits]`: every bound of [`ward_core::Limits`] by its own name, with the range in which it makes sense.
//!
//! One table makes the reader, the JSON schema, the reference in `ward.toml` and the tests. A test fails
//! when a field of `Limits` is missing here. Refused: values outside the range (rule 12: a bound that
//! can be switched off is none).

use std::fmt;
use std::time::Duration;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use ward_core::Limits;

use super::spec::{Field, Kind, Need, Section};
use super::values::{parse_size, parse_span, show_size, show_span};

/// A value as it stands in the file: a whole number, or text with a unit.
#[derive(Debug, Clone)]
enum Raw {
    Number(u64),
    Text(String),
}

/// A bound in its base unit (bytes, milliseconds, or a count) into its field and back.
trait Bound: Sized {
    fn from_base(value: u64) -> Option<Self>;
    fn to_base(&self) -> u64;
}

impl Bound for usize {
    fn from_base(value: u64) -> Option<Self> {
        Self::try_from(value).ok()
    }
    fn to_base(&self) -> u64 {
        *self as u64
    }
}

impl Bound for u32 {
    fn from_base(value: u64) -> Option<Self> {
        Self::try_from(value).ok()
    }
    fn to_base(&self) -> u64 {
        u64::from(*self)
    }
}

impl Bound for u64 {
    fn from_base(value: u64) -> Option<Self> {
        Some(value)
    }
    fn to_base(&self) -> u64 {
        *self
    }
}

impl Bound for Duration {
    fn from_base(value: u64) -> Option<Self> {
        Some(Self::from_millis(value))
    }
    fn to_base(&self) -> u64 {
        u64::try_from(self.as_millis()).unwrap_or(u64::MAX)
    }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

macro_rules! limits {
    ($($name:ident: $kind:ident($min:expr, $max:expr), $default:literal, $doc:literal;)*) => {
        const FIELDS: &[Field] = &[$(Field {
            name: stringify!($name),
            kind: Kind::$kind { min: $min, max: $max },
            need: Need::Default($default),
            doc: $doc,
        }),*];

        fn set(limits: &mut Limits, name: &str, base: u64) -> Option<()> {
            match name {
                $(stringify!($name) => limits.$name = Bound::from_base(base)?,)*
                _ => return None,
            }
            Some(())
        }

        /// The value in force, in the base unit.
        fn get(limits: &Limits, name: &str) -> Option<u64> {
            match name {
                $(stringify!($name) => Some(limits.$name.to_base()),)*
                _ => None,
            }
        }
    };
}

limits! {
    header_bytes: Size(8 * KIB, MIB), "\"32KiB\"", "Request line and headers together; beyond it 431. Room for a token, little for an attack.";
    header_count: Count(16, 1000), "100", "Header fields of a request; beyond it 431.";
    auth_body_bytes: Size(4 * KIB, MIB), "\"64KiB\"", "Body of a registration or token request; beyond it 413. A chain of certificates fits ten times.";
    fhir_body_bytes: Size(KIB, MIB), "\"64KiB\"", "Body of a FHIR request (a _search form); beyond it 413.";
    observe_body_bytes: Size(KIB, GIB), "\"64MiB\"", "Body of a request that passes because mode is observe; it is handed on as it comes. Beyond it 413, or broken off.";
    target_bytes: Size(256, 64 * KIB), "\"8KiB\"", "Path and query of a request; beyond it 414.";
    json_depth: Count(8, 100), "32", "Nesting of a JSON document. FHIR needs about ten levels.";
    upstream_json_depth: Count(16, 100), "100", "Nesting of a record of the upstream; deeper ones are hidden.";
    x5c_certificates: Count(1, 20), "10", "Certificates in one signed statement.";
    certificate_bytes: Size(KIB, 64 * KIB), "\"16KiB\"", "One certificate, DER.";
    jti_chars: Count(16, 1024), "256", "Length of a jti; it is kept until its statement ends.";
    clock_skew: Span(0, 5 * MINUTE), "\"1m\"", "How far a partner's clock may be off.";
    statement_life: Span(10 * SECOND, 5 * MINUTE), "\"5m\"", "Longest life of a software statement or authentication token (the IG allows no more).";
    access_token_life: Span(10 * SECOND, HOUR), "\"5m\"", "Life of an access token (the IG allows an hour).";
    search_parameters: Count(1, 1000), "32", "Parameters of one search; beyond it 400.";
    search_values: Count(1, 10_000), "100", "Comma-separated values of one parameter; beyond it 400.";
    page_default: Count(1, 1000), "20", "Page size when the client names none.";
    page_max: Count(1, 1000), "200", "Largest page; a larger _count is lowered to it.";
    upstream_page: Count(10, 1000), "200", "Entries asked for in one upstream page; never depends on the client's _count, or what is hidden could be counted.";
    refill_pages: Count(1, 1000), "64", "Upstream pages that one search may read, to fill a page and to count; then the page is short and total is left out.";
    refill_bytes: Size(MIB, 16 * GIB), "\"128MiB\"", "Bytes of upstream answers that one search may read.";
    total_max: Count(0, 1_000_000), "5000", "Visible matches that are counted; beyond it total is left out.";
    parked_links: Count(16, 1_000_000), "1024", "Paging links of the upstream that are too long for a cursor, kept at once; the oldest gives way.";
    narrow_ids: Count(0, 1000), "50", "Patients written into one narrowed upstream query; beyond it only the outgoing check works.";
    cursor_life: Span(MINUTE, 24 * HOUR), "\"10m\"", "Life of a paging link.";
    upstream_body_bytes: Size(64 * KIB, GIB), "\"16MiB\"", "Body of an upstream answer; beyond it 502. Held in memory once for each request.";
    upstream_timeout: Span(100, 10 * MINUTE), "\"10s\"", "Time for the upstream to answer in full; beyond it 504.";
    connect_timeout: Span(100, MINUTE), "\"3s\"", "Time to connect to anything.";
    header_timeout: Span(SECOND, 2 * MINUTE), "\"10s\"", "Time for a caller to finish its handshake and its headers, and for an idle connection.";
    body_timeout: Span(SECOND, 10 * MINUTE), "\"10s\"", "Time for a caller to send its body, or to take our answer further.";
    connections: Count(16, 1_000_000), "4096", "Connections at once; a further one takes the place of the one idle longest, or waits. Keep the process's file limit above twice this.";
    window_resources: Count(1, 4096), "256", "Resources that one log entry covers before they leave.";
    window_bytes: Size(16 * KIB, 16 * MIB), "\"256KiB\"", "Bytes that one log entry covers before they leave.";
    crl_bytes: Size(64 * KIB, 64 * MIB), "\"4MiB\"", "One revocation list, DER.";
    crl_timeout: Span(100, MINUTE), "\"5s\"", "Time to fetch one revocation list.";
    bundle_bytes: Size(8 * KIB, 4 * MIB), "\"256KiB\"", "The trust bundle of one community.";
    bundle_interval: Span(100, 24 * HOUR), "\"15m\"", "How often a community is asked for its trust bundle.";
    signal_age: Span(MINUTE, 30 * 24 * HOUR), "\"7d\"", "How long ago a community's signal may have been made; it waits while this server is down.";
    signals_per_minute: Count(1, 1_000_000), "600", "Signals of one address before their sender is known, and of one community, a minute; beyond it 429.";
    certifications: Count(1, 100), "10", "Certifications in one registration request.";
    certification_status_age: Span(100, HOUR), "\"1m\"", "How long a certifier's word that a certification is still valid counts; those with live tokens are asked about as often.";
    log_queue: Count(16, 1_000_000), "4096", "Events waiting for the log; a full queue slows callers, it never drops.";
    bus_queue: Count(16, 1_000_000), "4096", "Messages kept for a slow reader before it re-reads the log.";
    registrations_per_minute: Count(1, 1_000_000), "120", "Registrations of one client address a minute; beyond it 429.";
    token_failures_per_minute: Count(1, 1_000_000), "480", "Token requests of one client address that end before the client has authenticated, a minute; beyond it 429.";
    tokens_per_client_per_minute: Count(1, 1_000_000), "60", "Token requests of one authenticated client a minute; beyond it 429.";
    ipv6_site_factor: Count(1, 65_536), "4", "What one IPv6 /48 may do in a minute, as a multiple of what one /64 may.";
    rate_windows: Count(16, 10_000_000), "10000", "Addresses, networks and clients counted at once; beyond it the oldest count gives way.";
    watch_clients: Count(16, 10_000_000), "10000", "Windows that detection holds; beyond it the quietest gives way.";
    http2_streams: Count(1, 1000), "100", "Requests of one HTTP/2 connection at once; further ones are reset unseen.";
    http2_resets: Count(10, 10_000), "200", "Requests that one HTTP/2 connection may take back before it is closed (rapid reset).";
    http2_send_buffer: Size(16 * KIB, 16 * MIB), "\"256KiB\"", "Answer bytes that one HTTP/2 request may have waiting for a slow caller.";
    http2_ping_interval: Span(SECOND, 10 * MINUTE), "\"20s\"", "Time between pings on a busy HTTP/2 connection.";
    http2_ping_timeout: Span(SECOND, 2 * MINUTE), "\"10s\"", "Time for the answer to a ping; beyond it the connection is closed.";
    http2_idle: Span(SECOND, HOUR), "\"30s\"", "Time that an HTTP/2 connection may be without a request.";
    admin_connections: Count(1, 10_000), "64", "Connections of the admin listener at once.";
    admin_body_bytes: Size(64 * KIB, GIB), "\"32MiB\"", "Body of an admin request (a roster); beyond it 413.";
    admin_failures_per_minute: Count(1, 1000), "10", "Failed attempts with an operator's key or a bootstrap code a minute; beyond it 429.";
    bootstrap_life: Span(MINUTE, HOUR), "\"10m\"", "Life of the one-time code that makes the first operator.";
    approval_life: Span(MINUTE, 24 * HOUR), "\"30m\"", "Time within which a second person must approve an act of two.";
    operators: Count(1, 10_000), "100", "Operators of one tenant.";
    probe_age: Span(100, MINUTE), "\"3s\"", "Age at which /readyz looks again at the store and the upstream.";
}

/// The section.
pub(super) static SECTION: Section = Section {
    doc: "Every bound of Ward. The defaults suit a server with a few hundred partners; sizes are bytes or \"64KiB\", durations carry their unit (\"10s\").",
    fields: FIELDS,
};

/// A value in its base unit, or what is wrong with it.
pub(super) fn in_base(kind: &Kind, number: Option<u64>, text: Option<&str>) -> Result<u64, String> {
    let (min, max, value, show): (_, _, _, fn(u64) -> String) = match kind {
        Kind::Count { min, max } => (*min, *max, number, |n| n.to_string()),
        Kind::Size { min, max } => (*min, *max, number.or_else(|| parse_size(text?)), show_size),
        Kind::Span { min, max } => {
            let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
            let show: fn(u64) -> String = |n| show_span(Duration::from_millis(n));
            (*min, *max, text.and_then(parse_span).map(millis), show)
        }
        _ => return Err("is not a number".to_owned()),
    };
    let Some(value) = value else { return Err(format!("must be {}", kind.expects())) };
    if (min..=max).contains(&value) {
        Ok(value)
    } else {
        Err(format!("must be between {} and {}", show(min), show(max)))
    }
}

/// Reads the section over the shipped values.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Limits, D::Error> {
    struct Table;
    impl<'de> Visitor<'de> for Table {
        type Value = Limits;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table of limits")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Limits, A::Error> {
            let mut limits = Limits::default();
            while let Some(name) = map.next_key::<String>()? {
                let raw = map.next_value_seed(Value)?;
                let field = FIELDS.iter().find(|field| field.name == name);
                let field =
                    field.ok_or_else(|| A::Error::custom(format!("unknown field `{name}`")))?;
                let (number, text) = match &raw {
                    Raw::Number(number) => (Some(*number), None),
                    Raw::Text(text) => (None, Some(text.as_str())),
                };
                let base = in_base(&field.kind, number, text)
                    .map_err(|why| A::Error::custom(format!("{name} {why}")))?;
                set(&mut limits, &name, base)
                    .ok_or_else(|| A::Error::custom(format!("{name} does not fit")))?;
            }
            Ok(limits)
        }
    }
    from.deserialize_map(Table)
}

struct Value;

impl<'de> DeserializeSeed<'de> for Value {
    type Value = Raw;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Raw, D::Error> {
        from.deserialize_any(self)
    }
}

impl Visitor<'_> for Value {
    type Value = Raw;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or text with a unit")
    }
    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Raw, E> {
        u64::try_from(value).map(Raw::Number).map_err(|_| E::custom("a limit is not negative"))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Number(value))
    }
    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }
}

/// Names of the limits that differ, for a reload.
pub(super) fn changed(old: &Limits, new: &Limits) -> Vec<&'static str> {
    let differs = |field: &&Field| get(old, field.name) != get(new, field.name);
    FIELDS.iter().filter(differs).map(|field| field.name).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[derive(serde::Deserialize)]
    struct Holder {
        #[serde(deserialize_with = "deserialize")]
        limits: Limits,
    }

    fn read(text: &str) -> Result<Limits, String> {
        toml::from_str::<Holder>(text).map(|holder| holder.limits).map_err(|e| e.to_string())
    }

    /// Every field of `Limits` can be set, by its own name.
    #[test]
    fn no_bound_is_missing() {
        let shown = format!("{:?}", Limits::default());
        let body = shown.trim_start_matches("Limits {").trim_end_matches('}');
        let real: BTreeSet<&str> =
            body.split(',').filter_map(|part| Some(part.split_once(':')?.0.trim())).collect();
        let table: BTreeSet<&str> = FIELDS.iter().map(|field| field.name).collect();
        assert_eq!(table, real, "each field of ward_core::Limits has one row in config/limits.rs");
    }

    /// The default that the documentation states is the one that is shipped, and lies in its range.
    #[test]
    fn stated_defaults_are_the_shipped_ones() {
        for field in FIELDS {
            let Need::Default(text) = field.need else { panic!("{}", field.name) };
            let limits = read(&format!("[limits]\n{} = {text}", field.name))
                .unwrap_or_else(|e| panic!("{}: {e}", field.name));
            assert_eq!(
                limits,
                Limits::default(),
                "{}: {text} is not the shipped value",
                field.name
            );
        }
    }

    #[test]
    fn values_are_taken_and_bounded() {
        let limits = read("[limits]\nheader_bytes = \"16KiB\"\nclock_skew = \"30s\"\npage_max = 50\ncrl_bytes = 100000")
            .unwrap();
        assert_eq!(limits.header_bytes, 16 * 1024);
        assert_eq!(limits.clock_skew, Duration::from_secs(30));
        assert_eq!((limits.page_max, limits.crl_bytes), (50, 100_000));
        assert_eq!(
            changed(&Limits::default(), &limits),
            ["header_bytes", "clock_skew", "page_max", "crl_bytes"]
        );
        for (text, want) in [
            ("access_token_life = \"2h\"", "between 10s and 1h"),
            ("clock_skew = 30", "with its unit"),
            ("page_max = \"50\"", "whole number"),
            ("page_max = -1", "not negative"),
            ("header_bytes = \"1KiB\"", "between 8KiB and 1MiB"),
            ("heder_bytes = 1", "unknown field"),
        ] {
            let error = read(&format!("[limits]\n{text}")).unwrap_err();
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
