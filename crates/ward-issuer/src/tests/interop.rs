//! Our client against our issuer, both whole: discovery, registration, token, replay, cancellation.

use ward_client::{
    ClientError, Config, Hl7B2b, Lists, PartnerClient, RegistrationGrant, RegistrationRequest,
    Standing, Transport,
};
use ward_core::{ClientUri, Clock as _, OrganizationUri, Purpose};
use ward_net::client::FetchError;
use ward_trust::validate;

use super::*;

struct Wire(Arc<Issuer>);

impl Transport for Wire {
    fn send(
        &self,
        request: Request<Bytes>,
        _: usize,
        _: Duration,
    ) -> BoxFuture<'_, Result<Response<Bytes>, FetchError>> {
        Box::pin(async move { Ok(self.0.respond(request, ME).await) })
    }
}

struct TestLists(Arc<ManualClock>);

impl Lists for TestLists {
    fn path<'a>(
        &'a self,
        leaf: &'a Certificate,
        extra: &'a [Certificate],
        community: &'a Community,
    ) -> BoxFuture<'a, Result<Chain, PathError>> {
        let now = self.0.now();
        let lists = PKI.a.lists(&[], 86_400);
        Box::pin(async move { validate(leaf, extra, community, &lists, now) })
    }
}

fn client(world: &World) -> PartnerClient {
    PartnerClient::new(Config {
        community: PKI.a.community(),
        identity: PKI.client.identity.clone(),
        http: Arc::new(Wire(world.issuer.clone())),
        lists: Arc::new(TestLists(world.clock.clone())),
        clock: world.clock.clone(),
        rng: Arc::new(SystemRng),
        limits: world.limits.clone(),
    })
}

fn refusal(error: &ClientError) -> (u16, &str) {
    match error {
        ClientError::Refused { status, code, .. } => (*status, code),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_partner_does_the_whole_walk() {
    let world = World::new();
    let client = client(&world);
    let server = client.discover(SERVER_URI).await.unwrap();
    let mut request = RegistrationRequest {
        uri: ClientUri::parse(CLIENT_URI).unwrap(),
        client_name: "Partner".into(),
        contacts: vec!["mailto:ops@partner.test".into()],
        logo_uri: None,
        scope: "system/Patient.rs system/Observation.rs".into(),
        grant: RegistrationGrant::ClientCredentials,
        certifications: Vec::new(),
    };
    let registered = client.register(&server, &request).await.unwrap();
    assert_eq!(registered.standing, Standing::New);
    assert_eq!(client.register(&server, &request).await.unwrap().standing, Standing::Modified);
    let b2b = Hl7B2b {
        subject_name: None,
        subject_id: None,
        subject_role: None,
        organization_id: OrganizationUri::parse(ORGANIZATION).unwrap(),
        organization_name: Some("Partner Clinic".into()),
        purposes: vec![Purpose::Treatment],
        consent_policy: Vec::new(),
        consent_reference: Vec::new(),
    };
    let token = client.token(&server, &registered, "system/Patient.rs", &b2b).await.unwrap();
    let principal = world.resolve(token.expose()).await.unwrap();
    assert_eq!(principal.client.to_string(), registered.client_id);
    // The same context: the same token. Another one (CLI-24): another token.
    let again = client.token(&server, &registered, "system/Patient.rs", &b2b).await.unwrap();
    assert_eq!(again.expose(), token.expose());
    let named = Hl7B2b { organization_name: None, ..b2b.clone() };
    let other = client.token(&server, &registered, "system/Patient.rs", &named).await.unwrap();
    assert_ne!(other.expose(), token.expose(), "CLI-24");
    // A replayed assertion is refused.
    let assertion = client.authentication_token(&server, &registered, &b2b).unwrap();
    assert!(client.token_with(&server, "system/Patient.rs", &assertion).await.is_ok());
    let error = client.token_with(&server, "system/Patient.rs", &assertion).await.err().unwrap();
    assert_eq!(refusal(&error), (400, "invalid_client"), "T18");
    // Cancelled: the token is dead, and the client knows.
    request.grant = RegistrationGrant::Cancel;
    let cancelled = client.register(&server, &request).await.unwrap();
    assert_eq!(cancelled.standing, Standing::Cancelled, "CLI-17");
    assert_eq!(world.resolve(token.expose()).await, Err(ResolveError::Invalid));
    let error = client.token(&server, &cancelled, "system/Encounter.rs", &b2b).await.err().unwrap();
    assert_eq!(error.rule(), Some("CLI-17"));
}

#[tokio::test]
async fn a_revoked_partner_is_told_once_and_does_not_try_again() {
    let world = World::new();
    let client = client(&world);
    let server = client.discover(SERVER_URI).await.unwrap();
    world.paths.revoked.lock().unwrap().push(PKI.client.serial);
    let request = RegistrationRequest {
        uri: ClientUri::parse(CLIENT_URI).unwrap(),
        client_name: "Partner".into(),
        contacts: vec!["mailto:ops@partner.test".into()],
        logo_uri: None,
        scope: "system/Patient.rs".into(),
        grant: RegistrationGrant::ClientCredentials,
        certifications: Vec::new(),
    };
    let error = client.register(&server, &request).await.unwrap_err();
    assert_eq!(refusal(&error), (400, "unapproved_software_statement"));
    assert_eq!(client.register(&server, &request).await, Err(ClientError::Unapproved), "CLI-18");
}
