//! From the operator's act to the member's closed door, over sockets: what is pushed, tried again, and given up.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use ward::house::{System, Turned, open_or_make_vault, system};
use ward_community::{
    Authority, CertificateRequest, Issued, KeySpec, Operator, OperatorConfig, OperatorDeps, Reason,
    SignalPusher, backlog_of,
};
use ward_core::{
    BoxFuture, Clock as _, CommunityUri, Event, EventKind, EventSink, ManualClock, OutboxSeq,
    Receipt, SinkError, SystemClock, TenantId, Timestamp,
};
use ward_issuer::ServedCommunity;
use ward_net::HttpClient;
use ward_net::client::Egress;
use ward_net::tls::client_config;
use ward_trust::signal::{About, Signal};

use super::{events, is_ended, unhurried};
use crate::bad_input::world;
use crate::bundle::{bundle, following, publish};
use crate::harness::{ISS, TempDir, World};
use crate::pki::{COMMUNITY, Member, Pki};
use crate::place::{Serving, free_port, replaced, sandbox};

/// The operator's log, in memory.
#[derive(Default)]
struct Book(std::sync::Mutex<Vec<Event>>);

impl EventSink for Book {
    fn record(&self, events: Vec<Event>) -> BoxFuture<'_, Result<Receipt, SinkError>> {
        Box::pin(async move {
            let mut all = self.0.lock().unwrap();
            let (first, count) = (all.len() as u64, u32::try_from(events.len()).unwrap());
            all.extend(events);
            Ok(Receipt { first, count })
        })
    }

    fn settle(&self, _: OutboxSeq) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(async { Ok(()) })
    }
}

/// A community of `ward community`, whose lists the test hands out, or does not.
struct Desk {
    operator: Arc<Operator>,
    dir: TempDir,
    book: Arc<Book>,
    clock: Arc<ManualClock>,
}

impl Desk {
    async fn new(world: &World) -> Self {
        let dir = TempDir::new("signals-desk");
        let system: System = system();
        let vault = open_or_make_vault(&dir.0.join("vault"), &dir.0.join("key"), &system).unwrap();
        let book = Arc::new(Book::default());
        let config = OperatorConfig {
            tenant: TenantId::default_tenant(),
            uri: CommunityUri::parse(COMMUNITY).unwrap(),
            name: "Pushing".to_owned(),
            base_url: world.pki.url(""),
            ca_key: KeySpec::P256,
        };
        let deps = OperatorDeps {
            vault,
            sink: book.clone(),
            clock: system.clock.clone(),
            rng: system.rng.clone(),
            operator: "alice".into(),
        };
        let operator = Operator::create(dir.0.join("ca"), config, deps).await.unwrap();
        let clock = Arc::new(ManualClock::at_unix_seconds(SystemClock.now().as_seconds()));
        let desk = Self { operator, dir, book, clock };
        desk.publish(world);
        desk
    }

    /// Hands out the lists as they are now.
    fn publish(&self, world: &World) {
        for of in [Authority::Root, Authority::Issuing] {
            let path = format!("/crl/{}.crl", of.word());
            world.pki.put_file(&path, self.operator.list(of).der);
        }
    }

    /// Makes Ward a member, in the place of the test's own community.
    async fn admit(&self, world: &World) {
        let server = CertificateRequest::server("Ward", world.base.clone());
        let identity = self.operator.issue(&server).await.unwrap().identity().unwrap();
        let config = world.config();
        let mut community = self.operator.trust();
        community.organization_schemes = vec!["https:".to_owned()];
        let communities = vec![ServedCommunity::new(community, Arc::new(identity))];
        let tls = world.house.tls.current();
        let turned = Turned { action: "reloaded", operator: None, changed: &[] };
        world.house.knobs.turn(communities, tls, config.ceilings, turned).await.unwrap();
    }

    /// A registered partner with a live token.
    async fn partner(&self, world: &World) -> (Issued, String) {
        let issued =
            self.operator.issue(&CertificateRequest::client("Partner", ISS)).await.unwrap();
        let identity = Arc::new(issued.identity().unwrap());
        let member = Member { chain: issued.chain.clone(), identity, serial: 0 };
        let client = world.register_client(&member, ISS).await;
        (issued, world.access_token(&member, &client).await)
    }

    fn pusher(&self, world: &World) -> SignalPusher {
        let tls = client_config([world.tls_root.as_slice()]).unwrap();
        let limits = Arc::new(unhurried());
        let client = HttpClient::new(Egress::anywhere(), tls, limits.clone());
        SignalPusher::new(self.dir.0.join("ca"), client, self.clock.clone(), limits)
    }

    /// One round, recorded; how many signals ended.
    async fn round(&self, pusher: &mut SignalPusher) -> usize {
        let done = pusher.round().await.unwrap();
        self.operator.settle_signals(&done).await.unwrap();
        done.len()
    }

    fn waiting(&self) -> usize {
        let backlog = backlog_of(&self.dir.0.join("ca")).unwrap();
        backlog.waiting.iter().map(|(_, count, _)| count).sum()
    }

    fn acts(&self, action: &str) -> usize {
        self.book.0.lock().unwrap().iter().filter(|one| one.action == action).count()
    }
}

/// The list that names the certificate is handed out to nobody: what closes the door is the signal alone.
/// COMM-19.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_community_revokes_is_refused_by_its_member_at_the_next_request() {
    let (world, _upstream, ours, _) = world(unhurried()).await;
    let desk = Desk::new(&world).await;
    desk.admit(&world).await;
    desk.operator.subscribe(&world.base, None).await.unwrap();
    let mut pusher = desk.pusher(&world);
    assert_eq!(desk.round(&mut pusher).await, 1, "the way is tried");
    let (issued, token) = desk.partner(&world).await;
    let read = format!("{}/Patient/{}", world.path(&world.base), ours[0]);
    assert_eq!(world.get(&read, &token).await.status, 200);

    desk.operator.revoke(&issued.thumbprint, Reason::KeyCompromise).await.unwrap();
    assert_eq!(desk.operator.signal().await.unwrap(), 1);
    assert_eq!(world.get(&read, &token).await.status, 200, "nobody has told yet");
    assert_eq!(desk.round(&mut pusher).await, 1);
    assert_eq!(world.get(&read, &token).await.status, 401, "the next request");
    assert_eq!((desk.waiting(), desk.acts("signal-delivered")), (0, 2));
    let ends = events(&world, EventKind::Revocation).await;
    assert_eq!(ends.last().unwrap().0.actor.operator.as_deref(), Some("ward-signals"));
    assert_eq!(desk.round(&mut pusher).await, 0, "nothing waits");
}

/// Passes what comes to a port on to another, for as long as it lives.
async fn forward(from: u16, to: u16) -> tokio::task::JoinHandle<()> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", from)).await.unwrap();
    tokio::spawn(async move {
        loop {
            let Ok((mut near, _)) = listener.accept().await else { return };
            tokio::spawn(async move {
                let far = tokio::net::TcpStream::connect(("127.0.0.1", to)).await;
                if let Ok(mut far) = far {
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                }
            });
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_down_is_told_when_it_is_up_again() {
    let (world, _upstream, ours, _) = world(unhurried()).await;
    let desk = Desk::new(&world).await;
    desk.admit(&world).await;
    let (issued, token) = desk.partner(&world).await;
    let port = free_port();
    let endpoint = format!("https://localhost:{port}/default/signals");
    desk.operator.subscribe(&world.base, Some(&endpoint)).await.unwrap();
    desk.operator.revoke(&issued.thumbprint, Reason::PrivilegeWithdrawn).await.unwrap();
    desk.operator.signal().await.unwrap();
    let mut pusher = desk.pusher(&world);
    // Down: each pause is twice the last, and until it is over nobody is called.
    for pause in [1, 2, 4, 8] {
        assert_eq!(desk.round(&mut pusher).await, 0);
        desk.clock.advance(Duration::from_millis(pause * 1000 - 1));
        assert_eq!(desk.round(&mut pusher).await, 0);
        desk.clock.advance(Duration::from_millis(1));
    }
    assert_eq!(desk.waiting(), 2);
    let forwarding = forward(port, world.port).await;
    // The operator's program was started anew meanwhile: what waits is on its disk.
    let mut pusher = desk.pusher(&world);
    assert_eq!(desk.round(&mut pusher).await, 2);
    let read = format!("{}/Patient/{}", world.path(&world.base), ours[0]);
    assert_eq!(world.get(&read, &token).await.status, 401);
    assert_eq!((desk.waiting(), desk.acts("signal-delivered")), (0, 2));
    forwarding.abort();
}

/// A member that cannot know whether the signer is good says 503, and takes the signal when it can.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_cannot_know_now_is_asked_again() {
    let (world, ..) = world(unhurried()).await;
    let desk = Desk::new(&world).await;
    desk.admit(&world).await;
    let partner = CertificateRequest::client("Partner", ISS);
    let issued = desk.operator.issue(&partner).await.unwrap();
    let leaf = ward_trust::Certificate::from_der(&issued.chain[0]).unwrap();
    desk.operator.subscribe(&world.base, None).await.unwrap();
    desk.operator.revoke(&issued.thumbprint, Reason::Superseded).await.unwrap();
    desk.operator.signal().await.unwrap();
    world.pki.withdraw("/crl/issuing.crl");
    let mut pusher = desk.pusher(&world);
    assert_eq!(desk.round(&mut pusher).await, 0);
    assert!(!is_ended(&world, &leaf));
    desk.publish(&world);
    // As long as it asked for; and the member looks for the list again after a second of its own.
    for _ in 0..3000 {
        desk.clock.advance(Duration::from_secs(5));
        if desk.round(&mut pusher).await > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    desk.clock.advance(Duration::from_secs(5));
    desk.round(&mut pusher).await;
    assert!(is_ended(&world, &leaf));
    assert_eq!(desk.waiting(), 0);
}

/// Who refuses is not asked again; who is gone for a week is given up. Both stand in the operator's log.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_and_lost_members_end_the_trying() {
    let (world, ..) = world(unhurried()).await;
    let desk = Desk::new(&world).await;
    // Ward is no member of this community: it refuses what it says.
    desk.operator.issue(&CertificateRequest::server("Ward", world.base.clone())).await.unwrap();
    let gone = "https://gone.example/default/fhir";
    desk.operator.issue(&CertificateRequest::server("Gone", gone)).await.unwrap();
    desk.operator.subscribe(&world.base, None).await.unwrap();
    let closed = format!("https://localhost:{}/default/signals", free_port());
    desk.operator.subscribe(gone, Some(&closed)).await.unwrap();
    let mut pusher = desk.pusher(&world);
    assert_eq!(desk.round(&mut pusher).await, 1);
    assert_eq!((desk.acts("signal-refused"), desk.waiting()), (1, 1));
    let why = {
        let book = desk.book.0.lock().unwrap();
        book.iter().find(|one| one.action == "signal-refused").unwrap().body.detail["why"].clone()
    };
    assert_eq!(why, "invalid_key");
    desk.clock.advance(Duration::from_hours(7 * 24 + 1));
    assert_eq!(desk.round(&mut pusher).await, 1);
    assert_eq!((desk.acts("signal-given-up"), desk.waiting()), (1, 0));
}

/// Many at once: all arrive, each once.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_revocations_reach_the_member() {
    let (world, ..) = world(unhurried()).await;
    let desk = Desk::new(&world).await;
    desk.admit(&world).await;
    desk.operator.subscribe(&world.base, None).await.unwrap();
    let mut leaves = Vec::new();
    for n in 0..100 {
        let request =
            CertificateRequest::client(format!("P{n}"), format!("https://p{n}.example/app"));
        let issued = desk.operator.issue(&request).await.unwrap();
        leaves.push(ward_trust::Certificate::from_der(&issued.chain[0]).unwrap());
        desk.operator.revoke(&issued.thumbprint, Reason::CessationOfOperation).await.unwrap();
    }
    assert_eq!(desk.operator.signal().await.unwrap(), 100);
    let mut pusher = desk.pusher(&world);
    let mut ended = 0;
    for _ in 0..50 {
        ended += desk.round(&mut pusher).await;
        if desk.waiting() == 0 {
            break;
        }
        desk.clock.advance(Duration::from_mins(10));
    }
    assert_eq!(ended, 101);
    assert!(leaves.iter().all(|leaf| is_ended(&world, leaf)));
    assert_eq!(events(&world, EventKind::Revocation).await.len(), 100);
}

/// A bundle that was published is taken when the community says so, though the next look at its place is a day away (PKI-16).
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_has_the_bundle_fetched_at_once() {
    let upstream = sandbox().await;
    let mut pki = Pki::start().await;
    let place = following(&mut pki, &upstream.base_url);
    place.edit(|text| replaced(&text, "bundle_interval = \"200ms\"", "bundle_interval = \"24h\""));
    let (root, speaker) = (pki.root_der(), pki.client(COMMUNITY));
    publish(&pki, &bundle(1, &[&root], &[]), &speaker);
    let mut serving = Serving::start(&place).await;
    serving.until("sequence=1 ").await;
    publish(&pki, &bundle(2, &[&root], &[]), &speaker);
    let said = Signal {
        issuer: COMMUNITY.to_owned(),
        audience: place.base.clone(),
        jti: "published-2".to_owned(),
        issued: Timestamp::from_seconds(SystemClock.now().as_seconds()),
        about: About::Published,
        reason: None,
    };
    let document = said.sign(&speaker.identity).unwrap();
    let (_, mut stream) = place.connect().await;
    let head = format!(
        "POST /default/signals HTTP/1.1\r\nhost: localhost:{}\r\nconnection: close\r\n\
         content-type: application/secevent+jwt\r\ncontent-length: {}\r\n\r\n{document}",
        place.port,
        document.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.starts_with(b"HTTP/1.1 202 "), "{}", String::from_utf8_lossy(&answer));
    serving.until("sequence=2 ").await;
}
