//! `ward client`: the other side of the wire, usable against anybody's UDAP server (CLI-28, CLI-29).
//!
//! Each step says which check failed, by rule id, and what to do about it; with `--explain` also what passed.
//! Exit status 0: done; 1: refused or failed; 2: the command line or a file that it names is wrong. Never printed:
//! private keys; and the token only where `--show` asks for it.

mod files;

use std::process::ExitCode;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use ward_client::checks::{self, Check, Verdict};
use ward_client::{
    ClientError, Config, Discovered, Discovery, Hl7B2b, Origin, PartnerClient, Registered,
    RegistrationGrant, RegistrationRequest, Standing, Token,
};
use ward_core::{ClientUri, CommunityUri, OrganizationUri, Purpose, Secret};
use ward_net::client::{Egress, FetchError, HttpClient};
use ward_net::lists::RevocationLists;
use ward_net::tls::client_config;
use ward_trust::{Community, MetadataError, PathError, SigningIdentity};

use crate::cli_client::{
    Client, ClientContext, ClientGet, ClientIdentity, ClientRegister, ClientServer, ClientToken,
};
use crate::house::{System, system};
use crate::ui::{self, Ui};
use files::{Kept, State};

/// Headers of an answer that are shown.
const SHOWN_HEADERS: [&str; 8] = [
    "content-type",
    "etag",
    "last-modified",
    "location",
    "www-authenticate",
    "retry-after",
    "x-request-id",
    "x-correlation-id",
];

/// Why the command ended without doing what was asked.
struct Failure {
    code: u8,
    text: String,
    advice: String,
    rule: Option<&'static str>,
    origin: Option<&'static str>,
}

impl Failure {
    fn usage(text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { code: 2, ..Self::refused(text, advice) }
    }

    fn refused(text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { code: 1, text: text.into(), advice: advice.into(), rule: None, origin: None }
    }
}

pub(crate) async fn run(command: &Client) -> ExitCode {
    let (name, server) = match command {
        Client::Discover(one) => ("discover", &one.server),
        Client::Register(one) => ("register", &one.server),
        Client::Token(one) => ("token", &one.server),
        Client::Get(one) => ("get", &one.server),
    };
    let mut talk = Talk {
        ui: Ui::new(server.json),
        explain: server.explain,
        checks: Vec::new(),
        facts: vec![("base", json!(server.base))],
        after: String::new(),
        status: 0,
    };
    let ended = match command {
        Client::Discover(one) => discover(&mut talk, &one.server).await,
        Client::Register(one) => register(&mut talk, one).await,
        Client::Token(one) => token(&mut talk, one).await,
        Client::Get(one) => get(&mut talk, one).await,
    };
    talk.close(name, ended)
}

/// What is said at the end, gathered while working.
struct Talk {
    ui: Ui,
    explain: bool,
    checks: Vec<(&'static str, &'static Check, Verdict)>,
    facts: Vec<(&'static str, Value)>,
    /// Printed after everything else, as it is: a token, a body.
    after: String,
    /// Exit status if nothing failed.
    status: u8,
}

impl Talk {
    fn fact(&mut self, name: &'static str, value: impl Into<Value>) {
        self.facts.push((name, value.into()));
    }

    /// Notes how the checks of a step ended, and turns its error into words.
    fn step<T>(
        &mut self,
        name: &'static str,
        step: &'static [Check],
        parts: &Parts,
        result: Result<T, ClientError>,
    ) -> Result<T, Failure> {
        let error = result.as_ref().err();
        for (check, verdict) in checks::verdicts(step, error) {
            self.checks.push((name, check, verdict));
        }
        result.map_err(|error| Failure {
            code: 1,
            text: format!("{name}: {error}"),
            advice: advice(&error, parts),
            rule: error.rule(),
            origin: Some(match error.origin() {
                Origin::Us => "client",
                Origin::Server => "server",
                Origin::Network => "network",
            }),
        })
    }

    fn close(self, command: &str, ended: Result<(), Failure>) -> ExitCode {
        let failure = ended.err();
        let code = failure.as_ref().map_or(self.status, |failure| failure.code);
        if self.ui.json() {
            self.ui.line(&self.as_json(command, failure.as_ref()).to_string());
            return ExitCode::from(code);
        }
        for (name, value) in &self.facts {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Array(many) => {
                    many.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
                }
                other => other.to_string(),
            };
            if !text.is_empty() {
                let name = format!("{:<14}", name.replace('_', " "));
                self.ui.line(&format!("{} {}", self.ui.bold(&name), printable(&text)));
            }
        }
        if self.explain {
            for (step, check, verdict) in &self.checks {
                let mark = match verdict {
                    Verdict::Passed => self.ui.good("passed"),
                    Verdict::Failed => self.ui.bad("FAILED"),
                    Verdict::NotReached => self.ui.dim("not reached"),
                };
                let rules = check.rules.join(" ");
                self.ui.line(&format!("{mark} {step}: {} ({rules})", check.text));
            }
        }
        if !self.after.is_empty() {
            self.ui.line(&self.after);
        }
        if let Some(Failure { text, advice, .. }) = failure {
            ui::error(&printable(&text));
            if !advice.is_empty() {
                ui::error(&printable(&advice));
            }
        }
        ExitCode::from(code)
    }

    fn as_json(&self, command: &str, failure: Option<&Failure>) -> Value {
        let mut out = Map::new();
        out.insert("command".into(), json!(command));
        out.insert("ok".into(), json!(failure.is_none() && self.status == 0));
        for (name, value) in &self.facts {
            out.insert((*name).to_owned(), value.clone());
        }
        if self.explain {
            let verdict = |verdict: &Verdict| match verdict {
                Verdict::Passed => "passed",
                Verdict::Failed => "failed",
                Verdict::NotReached => "not-reached",
            };
            let checks = self.checks.iter().map(|(step, check, how)| {
                json!({ "step": step, "rules": check.rules, "check": check.text, "verdict": verdict(how) })
            });
            out.insert("checks".into(), checks.collect());
        }
        if let Some(Failure { text, advice, rule, origin, .. }) = failure {
            out.insert(
                "error".into(),
                json!({ "text": text, "advice": advice, "rule": rule, "origin": origin }),
            );
        }
        Value::Object(out)
    }
}

/// What came from elsewhere without the characters that move a terminal's cursor.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

/// What to do about an error, beyond what the error itself says.
fn advice(error: &ClientError, parts: &Parts) -> String {
    match error {
        ClientError::Fetch(FetchError::Refused(why)) if why.contains("public") => {
            "if you trust this network, give --allow-private=HOST:PORT for the server".to_owned()
        }
        ClientError::Fetch(FetchError::Connect(why)) if why.contains("certificate") => {
            "the server's TLS certificate is not trusted; give the PEM of its authority with --tls-ca"
                .to_owned()
        }
        ClientError::Fetch(_) => {
            "check the URL, that the server is up, and that this machine can reach it".to_owned()
        }
        ClientError::Metadata(MetadataError::Path(path)) => match path {
            PathError::Untrusted => {
                "give the community's own root with --anchor (and --intermediate, if the server leaves it out); \
                 if it is right, the server's certificate is of another community"
                    .to_owned()
            }
            _ => lists_in_trouble(&parts.lists),
        },
        ClientError::Refused { code, .. } if code == "invalid_client" => {
            "the server does not know this client id with this certificate, or has ended it: register again"
                .to_owned()
        }
        ClientError::Refused { code, .. } if code == "unapproved_software_statement" => {
            "the server does not trust this certificate: use one of a community that it serves".to_owned()
        }
        ClientError::Refused { code, .. } if code == "invalid_scope" => {
            "ask for scopes that the server lists (see `ward client discover`)".to_owned()
        }
        _ => String::new(),
    }
}

/// Which revocation lists could not be had, and why.
fn lists_in_trouble(lists: &RevocationLists) -> String {
    let mut said = Vec::new();
    for list in lists.status().lists {
        if let Some(failure) = list.failure {
            let hint = if failure.to_string().contains("egress refused") {
                "; if you trust it, give --allow-private=HOST:PORT for it"
            } else {
                ""
            };
            said.push(format!("revocation list {}: {failure}{hint}", list.url));
        } else if list.stale {
            said.push(format!(
                "revocation list {} is past its nextUpdate; tell the community",
                list.url
            ));
        }
    }
    said.join("\n")
}

/// What every step works with.
struct Parts {
    system: System,
    community: Community,
    http: HttpClient,
    lists: Arc<RevocationLists>,
}

impl Parts {
    fn new(server: &ClientServer) -> Result<Self, Failure> {
        let system = system();
        let uri = CommunityUri::parse(&server.community_uri).map_err(|error| {
            Failure::usage(
                format!("--community-uri: {error}"),
                "give the URI that names the community",
            )
        })?;
        let mut community = Community::new(uri, files::parsed("--anchor", &server.anchor)?);
        community.intermediates = files::parsed("--intermediate", &server.intermediate)?;
        community.check().map_err(|fault| {
            Failure::usage(
                format!("--anchor: {fault}"),
                "give the certificate of the community's root itself",
            )
        })?;
        // What a server's community allows is the server's to say; any of ours is sent.
        community.purposes = Purpose::ALL.to_vec();
        community.organization_schemes =
            ["urn:", "https:", "http:"].map(ToOwned::to_owned).to_vec();
        let egress = if server.allow_private.iter().any(|target| target == "*") {
            Egress::anywhere()
        } else {
            Egress::allowing(server.allow_private.iter().cloned())
        };
        let roots = files::tls_roots(server.tls_ca.as_deref())?;
        let tls = client_config(roots.iter().map(Vec::as_slice)).map_err(|error| {
            Failure::usage(format!("--tls-ca: {error}"), "use a PEM of CA certificates")
        })?;
        let http = HttpClient::new(egress, tls, system.limits.clone());
        let lists = RevocationLists::new(http.clone(), system.clock.clone(), system.limits.clone());
        Ok(Self { system, community, http, lists })
    }

    fn client(&self, who: &ClientIdentity) -> Result<(PartnerClient, ClientUri), Failure> {
        let chain = files::certificates("--certificate", &who.certificate)?;
        let key = files::private_key(&who.key)?;
        let identity = SigningIdentity::from_pkcs8(&chain, &key).map_err(|error| {
            Failure::usage(
                format!("--certificate {} with --key: {error}", who.certificate.display()),
                "give a chain with the own certificate first, and its key: RSA from 2048 bits, P-256 or P-384",
            )
        })?;
        let uri = match (&who.client_uri, identity.san_uris()) {
            (Some(uri), _) => uri.clone(),
            (None, [only]) => only.clone(),
            (None, []) => {
                return Err(Failure::usage(
                    format!("--certificate {} names no URI (SAN)", who.certificate.display()),
                    "use a certificate that a UDAP community issued",
                ));
            }
            (None, many) => {
                return Err(Failure::usage(
                    format!("the certificate names several URIs: {}", many.join(" ")),
                    "say which with --client-uri",
                ));
            }
        };
        let uri = ClientUri::parse(&uri).map_err(|error| {
            Failure::usage(format!("--client-uri: {error}"), "give one of the certificate's")
        })?;
        let client = PartnerClient::new(Config {
            community: self.community.clone(),
            identity: Arc::new(identity),
            http: Arc::new(self.http.clone()),
            lists: Arc::new(self.lists.clone()),
            clock: self.system.clock.clone(),
            rng: self.system.rng.clone(),
            limits: self.system.limits.clone(),
        });
        Ok((client, uri))
    }

    async fn find(&self, talk: &mut Talk, server: &ClientServer) -> Result<Discovered, Failure> {
        let discovery = Discovery {
            community: self.community.clone(),
            http: Arc::new(self.http.clone()),
            lists: Arc::new(self.lists.clone()),
            clock: self.system.clock.clone(),
            limits: self.system.limits.clone(),
        };
        let found = discovery.discover(&server.base).await;
        talk.step("discovery", checks::DISCOVERY, self, found)
    }
}

async fn discover(talk: &mut Talk, server: &ClientServer) -> Result<(), Failure> {
    let parts = Parts::new(server)?;
    let found = parts.find(talk, server).await?;
    talk.fact("registration_endpoint", found.registration_endpoint.as_str());
    talk.fact("token_endpoint", found.token_endpoint.as_str());
    if let Some(endpoint) = &found.authorization_endpoint {
        talk.fact("authorization_endpoint", endpoint.as_str());
    }
    talk.fact("grant_types", found.grant_types.clone());
    talk.fact("profiles", found.profiles.clone());
    talk.fact("scopes", found.scopes.clone());
    talk.fact("extensions_required", found.extensions_required.clone());
    talk.fact("certifications_required", found.certifications_required.clone());
    talk.fact("signed_until", found.exp.to_rfc3339());
    if let Some(leaf) = found.chain().leaf() {
        talk.fact("certificate", leaf.thumbprint().to_string());
        talk.fact("certificate_until", leaf.not_after().to_rfc3339());
    }
    talk.fact("anchor", found.chain().anchor.thumbprint().to_string());
    talk.fact("warnings", found.warnings.clone());
    Ok(())
}

async fn register(talk: &mut Talk, wanted: &ClientRegister) -> Result<(), Failure> {
    let parts = Parts::new(&wanted.server)?;
    let (client, uri) = parts.client(&wanted.identity)?;
    let state = State::read(&wanted.identity.state)?;
    let found = parts.find(talk, &wanted.server).await?;
    let request = RegistrationRequest {
        uri: uri.clone(),
        client_name: wanted.name.clone(),
        contacts: wanted.contact.clone(),
        logo_uri: wanted.logo.clone(),
        scope: wanted.scope.clone(),
        grant: if wanted.cancel {
            RegistrationGrant::Cancel
        } else {
            RegistrationGrant::ClientCredentials
        },
    };
    let answer = client.register(&found, &request).await;
    let registered = talk.step("registration", checks::REGISTRATION, &parts, answer)?;
    let kept = Kept {
        base: wanted.server.base.clone(),
        registration_endpoint: registered.registration_endpoint,
        community: wanted.server.community_uri.clone(),
        client_uri: uri.as_str().to_owned(),
        client_id: registered.client_id,
        scope: registered.scope,
    };
    let (state, standing) = match registered.standing {
        Standing::New => (state.with(kept.clone()), "new"),
        Standing::Modified => (state.with(kept.clone()), "modified"),
        Standing::Cancelled => (state.without(&kept), "cancelled"),
    };
    state.write(&wanted.identity.state)?;
    talk.fact("standing", standing);
    talk.fact("client_id", kept.client_id);
    talk.fact("client_uri", kept.client_uri);
    talk.fact("scope", kept.scope);
    talk.fact("state", wanted.identity.state.display().to_string());
    talk.fact("warnings", registered.warnings);
    Ok(())
}

/// The registration that the state file remembers for this server.
fn remembered(
    state: &State,
    who: &ClientIdentity,
    server: &ClientServer,
    found: &Discovered,
    uri: &ClientUri,
) -> Result<Registered, Failure> {
    let kept = state.find(&found.registration_endpoint, &server.community_uri, uri.as_str());
    let Some(kept) = kept else {
        return Err(Failure::refused(
            format!("{} holds no registration at this server", who.state.display()),
            "run `ward client register` with the same --state, --certificate and --community-uri first",
        ));
    };
    Ok(Registered {
        registration_endpoint: kept.registration_endpoint.clone(),
        uri: uri.clone(),
        client_id: kept.client_id.clone(),
        scope: kept.scope.clone(),
        standing: Standing::Modified,
        warnings: Vec::new(),
    })
}

fn b2b(context: &ClientContext) -> Result<Hl7B2b, Failure> {
    let Some(organization) = &context.organization else {
        return Err(Failure::usage(
            "--organization is missing",
            "give the URI of your organisation, as https://hospital.example or urn:oid:1.2.3",
        ));
    };
    let organization_id = OrganizationUri::parse(organization).map_err(|error| {
        Failure::usage(format!("--organization: {error}"), "give a URI, as urn:oid:1.2.3")
    })?;
    let purposes = context
        .purpose
        .iter()
        .map(|text| {
            Purpose::ALL
                .into_iter()
                .find(|purpose| purpose.code() == text)
                .or_else(|| Purpose::parse_uri(text).ok())
                .ok_or_else(|| {
                    let known = Purpose::ALL.map(Purpose::code).join(", ");
                    Failure::usage(
                        format!("--purpose {text} is not known"),
                        format!("give one of {known}"),
                    )
                })
        })
        .collect::<Result<_, _>>()?;
    Ok(Hl7B2b {
        subject_name: None,
        subject_id: None,
        subject_role: None,
        organization_id,
        organization_name: context.organization_name.clone(),
        purposes,
        consent_policy: Vec::new(),
        consent_reference: Vec::new(),
    })
}

/// A token for the context, fresh from the server.
async fn obtain(
    talk: &mut Talk,
    parts: &Parts,
    (client, uri): (&PartnerClient, &ClientUri),
    server: &ClientServer,
    who: &ClientIdentity,
    context: &ClientContext,
) -> Result<(String, Arc<Token>), Failure> {
    let b2b = b2b(context)?;
    let state = State::read(&who.state)?;
    let found = parts.find(talk, server).await?;
    let registered = remembered(&state, who, server, &found, uri)?;
    let scope = context.scope.clone().unwrap_or_else(|| registered.scope.clone());
    let answer = client.token(&found, &registered, &scope, &b2b).await;
    let token = talk.step("token", checks::TOKEN, parts, answer)?;
    Ok((registered.client_id, token))
}

async fn token(talk: &mut Talk, wanted: &ClientToken) -> Result<(), Failure> {
    let parts = Parts::new(&wanted.server)?;
    let (client, uri) = parts.client(&wanted.identity)?;
    let who = (&client, &uri);
    let (client_id, token) =
        obtain(talk, &parts, who, &wanted.server, &wanted.identity, &wanted.context).await?;
    talk.fact("client_id", client_id);
    talk.fact("scope", token.scope());
    talk.fact("expires", token.expires().to_rfc3339());
    if !wanted.show {
        files::write_private("--to", &wanted.to, format!("{}\n", token.expose()).as_bytes())?;
        talk.fact("token_file", wanted.to.display().to_string());
    } else if talk.ui.json() {
        talk.fact("token", token.expose());
    } else {
        // Alone, so that a script can take it.
        talk.facts.clear();
        token.expose().clone_into(&mut talk.after);
    }
    Ok(())
}

async fn get(talk: &mut Talk, wanted: &ClientGet) -> Result<(), Failure> {
    let parts = Parts::new(&wanted.server)?;
    let (client, uri) = parts.client(&wanted.identity)?;
    let token = if let Some(path) = &wanted.token {
        let value: Secret<String> = files::token(path)?;
        let now = parts.system.clock.now();
        let kept = Token::kept(&wanted.server.base, value, "", now);
        Arc::new(kept.map_err(|error| {
            Failure::usage(format!("--token {}: {error}", path.display()), "get a new one")
        })?)
    } else {
        let who = (&client, &uri);
        obtain(talk, &parts, who, &wanted.server, &wanted.identity, &wanted.context).await?.1
    };
    let path = if wanted.path.starts_with('/') {
        wanted.path.clone()
    } else {
        format!("/{}", wanted.path)
    };
    let answer = client.get(&wanted.server.base, &path, &token).await;
    let answer = talk.step("call", checks::CALL, &parts, answer)?;
    let status = answer.status();
    talk.fact("status", status.as_u16());
    let mut headers = Map::new();
    for name in SHOWN_HEADERS {
        if let Some(value) = answer.headers().get(name).and_then(|value| value.to_str().ok()) {
            if !talk.ui.json() {
                talk.fact(name, value);
            }
            headers.insert(name.to_owned(), json!(value));
        }
    }
    let text = String::from_utf8_lossy(answer.body());
    if talk.ui.json() {
        talk.fact("headers", Value::Object(headers));
        talk.fact("body", serde_json::from_str::<Value>(&text).unwrap_or_else(|_| json!(text)));
    } else {
        talk.after = printable(&text);
    }
    if !status.is_success() {
        talk.status = 1;
        if status == http::StatusCode::UNAUTHORIZED && wanted.token.is_some() && !talk.ui.json() {
            ui::error(
                "the token was refused: it has ended, or was revoked; get a new one with `ward client token`",
            );
        }
    }
    Ok(())
}
