//! Every bound of Ward in one place (rule 12).

use std::time::Duration;

/// The bounds of parsers, queues, caches, fan-outs and retries. Fields are public so that a
/// configuration can set each; [`Limits::default`] states the shipped values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Request line and headers together, bytes; beyond it 431.
    pub header_bytes: usize,
    /// Number of header fields; beyond it 431.
    pub header_count: usize,
    /// Body of a registration or token request, bytes; beyond it 413 (REG-26).
    pub auth_body_bytes: usize,
    /// Body of a FHIR request (`_search` form), bytes; beyond it 413.
    pub fhir_body_bytes: usize,
    /// Body of a request that passes unjudged in observe mode, bytes; beyond it 413, or broken off.
    pub observe_body_bytes: usize,
    /// Path and query of a request, bytes; beyond it 414.
    pub target_bytes: usize,
    /// Nesting of a JSON document, levels (JWT-10, B8).
    pub json_depth: usize,
    /// Nesting of a record of the upstream, levels; deeper ones are hidden. At most 100.
    pub upstream_json_depth: usize,
    /// Certificates in `x5c` (R20).
    pub x5c_certificates: usize,
    /// One certificate, DER bytes (R20).
    pub certificate_bytes: usize,
    /// `jti`, characters (R36).
    pub jti_chars: usize,
    /// Clock skew accepted for `iat` and `exp` (JWT-12).
    pub clock_skew: Duration,
    /// Longest life of a software statement or authentication token (REG-09, TOK-11).
    pub statement_life: Duration,
    /// Life of an access token, at most one hour (TOK-18).
    pub access_token_life: Duration,
    /// Search parameters in one request; beyond it 400.
    pub search_parameters: usize,
    /// Comma-separated values of one search parameter; beyond it 400.
    pub search_values: usize,
    /// Page size when the client names none.
    pub page_default: usize,
    /// Largest page size; a larger `_count` is lowered to it (D31).
    pub page_max: usize,
    /// Entries asked for in one upstream page. Never depends on the client's `_count`: what is read
    /// behind a page would tell what is hidden there (E3).
    pub upstream_page: usize,
    /// Upstream pages of `upstream_page` entries that one search may read, to fill a page and to count
    /// (E3): at the limit the page is short and `total` is left out. Retries are not charged.
    pub refill_pages: usize,
    /// Octets of upstream answers that one search may read (E3).
    pub refill_bytes: usize,
    /// Visible matches that are counted; `total` is left out beyond (E1, E2).
    pub total_max: usize,
    /// Paging links of upstreams that are too long for a cursor, kept at once; the oldest gives way.
    pub parked_links: usize,
    /// Patient ids written into one narrowed upstream query; longer rosters are asked for in several
    /// queries, one after another.
    pub narrow_ids: usize,
    /// Life of a paging cursor.
    pub cursor_life: Duration,
    /// Body of an upstream answer, bytes; beyond it 502.
    pub upstream_body_bytes: usize,
    /// Time for an upstream to answer in full; beyond it 504.
    pub upstream_timeout: Duration,
    /// Time to connect to anything.
    pub connect_timeout: Duration,
    /// Time for a caller to send its headers, and for its TLS handshake.
    pub header_timeout: Duration,
    /// Time for a caller to send its body.
    pub body_timeout: Duration,
    /// Connections at once; a further one takes the place of the one idle longest, or waits for a request to end.
    pub connections: usize,
    /// Requests of one HTTP/2 connection at once (RFC 9113 §5.1.2); further ones are reset unseen.
    pub http2_streams: u32,
    /// Requests of one HTTP/2 connection that the caller took back before they were answered; beyond it
    /// the connection is closed (rapid reset, CVE-2023-44487).
    pub http2_resets: usize,
    /// Octets of answers that one HTTP/2 request may have waiting for a slow caller.
    pub http2_send_buffer: usize,
    /// Time between pings on an HTTP/2 connection that has requests under way.
    pub http2_ping_interval: Duration,
    /// Time for the caller to answer a ping; beyond it the connection is closed.
    pub http2_ping_timeout: Duration,
    /// Time that an HTTP/2 connection may be without a request; then it is closed, gracefully.
    pub http2_idle: Duration,
    /// Connections of the admin listener at once.
    pub admin_connections: usize,
    /// Body of an admin request (a roster), bytes; beyond it 413.
    pub admin_body_bytes: usize,
    /// Failed attempts of one address with one operator's key, or with a bootstrap code, a minute; beyond it 429.
    pub admin_failures_per_minute: u32,
    /// Life of the one-time code that makes the first operator.
    pub bootstrap_life: Duration,
    /// Time within which a second person must approve an act of two.
    pub approval_life: Duration,
    /// Operators of one tenant.
    pub operators: usize,
    /// Age at which `/readyz` looks again at the store and the upstream.
    pub probe_age: Duration,
    /// Resources of one log window (rule 3).
    pub window_resources: usize,
    /// Bytes of one log window (rule 3).
    pub window_bytes: usize,
    /// Revocation list, DER bytes (X19).
    pub crl_bytes: usize,
    /// Time to fetch one revocation list.
    pub crl_timeout: Duration,
    /// Trust bundle of a community, bytes (PKI-16).
    pub bundle_bytes: usize,
    /// How often a community is asked for its trust bundle.
    pub bundle_interval: Duration,
    /// How long ago a signal of a community may have been made (RFC 8417 `iat`): it waits for receivers that are down.
    pub signal_age: Duration,
    /// Signals of one address before their sender is known, and of one community, a minute; beyond it 429.
    pub signals_per_minute: u32,
    /// Certifications in one registration request; beyond it 400 (C10).
    pub certifications: usize,
    /// How long a certifier's word that a certification is still valid counts, and how often those with live grants are
    /// asked about (CRT-12).
    pub certification_status_age: Duration,
    /// Events waiting for the log; a full queue slows callers, it never drops.
    pub log_queue: usize,
    /// Messages kept for a slow subscriber of the bus before it must re-read the log.
    pub bus_queue: usize,
    /// Registration requests of one client address a minute; beyond it 429 (P25).
    pub registrations_per_minute: u32,
    /// Token requests of one address that end before the client has authenticated, a minute; beyond it
    /// 429 (T35).
    pub token_failures_per_minute: u32,
    /// Token requests of one authenticated client a minute, whatever their end; beyond it 429. Each
    /// leaves records on the disk.
    pub tokens_per_client_per_minute: u32,
    /// What one IPv6 /48 may do, as a multiple of what one /64 may.
    pub ipv6_site_factor: u32,
    /// Addresses, networks and clients counted at once, each; beyond it the oldest count gives way.
    pub rate_windows: usize,
    /// Clients, patients and windows held by detection; beyond it the oldest give way.
    pub watch_clients: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: 32 * 1024,
            header_count: 100,
            auth_body_bytes: 64 * 1024,
            fhir_body_bytes: 64 * 1024,
            observe_body_bytes: 64 * 1024 * 1024,
            target_bytes: 8 * 1024,
            json_depth: 32,
            upstream_json_depth: 100,
            x5c_certificates: 10,
            certificate_bytes: 16 * 1024,
            jti_chars: 256,
            clock_skew: Duration::from_mins(1),
            statement_life: Duration::from_mins(5),
            access_token_life: Duration::from_mins(5),
            search_parameters: 32,
            search_values: 100,
            page_default: 20,
            page_max: 200,
            upstream_page: 200,
            refill_pages: 64,
            refill_bytes: 128 * 1024 * 1024,
            total_max: 5000,
            parked_links: 1024,
            narrow_ids: 50,
            cursor_life: Duration::from_mins(10),
            upstream_body_bytes: 16 * 1024 * 1024,
            upstream_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(3),
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(10),
            connections: 4096,
            http2_streams: 100,
            http2_resets: 200,
            http2_send_buffer: 256 * 1024,
            http2_ping_interval: Duration::from_secs(20),
            http2_ping_timeout: Duration::from_secs(10),
            http2_idle: Duration::from_secs(30),
            admin_connections: 64,
            admin_body_bytes: 32 * 1024 * 1024,
            admin_failures_per_minute: 10,
            bootstrap_life: Duration::from_mins(10),
            approval_life: Duration::from_mins(30),
            operators: 100,
            probe_age: Duration::from_secs(3),
            window_resources: 256,
            window_bytes: 256 * 1024,
            crl_bytes: 4 * 1024 * 1024,
            crl_timeout: Duration::from_secs(5),
            bundle_bytes: 256 * 1024,
            bundle_interval: Duration::from_mins(15),
            signal_age: Duration::from_hours(7 * 24),
            signals_per_minute: 600,
            certifications: 10,
            certification_status_age: Duration::from_mins(1),
            log_queue: 4096,
            bus_queue: 4096,
            registrations_per_minute: 120,
            token_failures_per_minute: 480,
            tokens_per_client_per_minute: 60,
            ipv6_site_factor: 4,
            rate_windows: 10_000,
            watch_clients: 10_000,
        }
    }
}
