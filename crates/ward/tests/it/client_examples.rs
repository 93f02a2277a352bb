//! The examples of `ward-client`, as they stand in its folder, against a running Ward; and what [`Setup`] refuses.

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use ward_client::{Egress, Secret, Setup};
use ward_core::{Limits, SystemClock};

use crate::bad_input::world_at;
use crate::harness::{ISS, ORGANIZATION, TempDir};
use crate::pki::{COMMUNITY, Leaf};
use crate::place::pem;
use crate::scripted::patient;

#[path = "../../../ward-client/examples/discover.rs"]
#[expect(dead_code, reason = "the example's main is not called here")]
mod discover;
#[path = "../../../ward-client/examples/read.rs"]
#[expect(dead_code, reason = "the example's main is not called here")]
mod read;

/// What an organisation has: its folder with certificate, key and the roots.
fn folder(world: &mut crate::harness::World) -> TempDir {
    let dir = TempDir::new("example");
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let chain = world.pki.certify(&Leaf::client(ISS), &pair);
    for (name, text) in [
        ("certificate.pem", pem(&chain)),
        ("key.pem", pair.serialize_pem()),
        ("root.pem", pem(&[world.pki.root_der()])),
        ("tls.pem", pem(std::slice::from_ref(&world.tls_root))),
    ] {
        std::fs::write(dir.0.join(name), text).unwrap();
    }
    dir
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_of_the_library_run_against_ward() {
    let clock = std::sync::Arc::new(SystemClock);
    let (mut world, _upstream, roster, strangers) = world_at(patient(), clock).await;
    let dir = folder(&mut world);
    let path = |name: &str| dir.0.join(name).to_str().unwrap().to_owned();
    let (base, community) = (world.base.clone(), COMMUNITY.to_owned());

    let arguments = [base.clone(), community.clone(), path("root.pem"), path("tls.pem")];
    let said = discover::run(&arguments).await.unwrap();
    assert!(said.contains(&world.register) && said.contains("system/Patient.rs"), "{said}");
    let elsewhere =
        [base.replace("/fhir", "/else"), community.clone(), path("root.pem"), path("tls.pem")];
    let refused = discover::run(&elsewhere).await.unwrap_err().to_string();
    assert!(refused.contains("CLI-01"), "{refused}");

    for (patient, status) in [(&roster[0], 200), (&strangers[0], 404)] {
        let arguments = [
            base.clone(),
            community.clone(),
            dir.0.to_str().unwrap().to_owned(),
            ORGANIZATION.to_owned(),
            format!("/Patient/{patient}"),
        ];
        let (found, body) = read::run(&arguments).await.unwrap();
        assert_eq!(found, status, "{body}");
        assert_eq!(body.contains(patient), status == 200, "{body}");
    }
    assert!(read::run(&[]).await.is_err() && discover::run(&[]).await.is_err());
}

#[tokio::test]
async fn a_setup_of_wrong_files_says_which_and_what_to_give() {
    let clock = std::sync::Arc::new(SystemClock);
    let (mut world, _upstream, ..) = world_at(patient(), clock).await;
    let dir = folder(&mut world);
    let file = |name: &str| std::fs::read(dir.0.join(name)).unwrap();
    let (root, tls, own) = (file("root.pem"), file("tls.pem"), file("certificate.pem"));
    let key = Secret::new(file("key.pem"));
    let egress = Egress::public_only();
    let limits = Limits::default();
    let setup = Setup {
        community: COMMUNITY,
        anchors: &root,
        tls_roots: &tls,
        egress: &egress,
        limits: &limits,
    };
    assert!(setup.client(&own, &key).is_ok());
    let none = b"no pem".as_slice();
    let rows = [
        (Setup { community: "", ..setup }.client(&own, &key), "the community's name"),
        (Setup { anchors: none, ..setup }.client(&own, &key), "the community's anchors"),
        // A member is no root.
        (Setup { anchors: &own, ..setup }.client(&own, &key), "the community's anchors"),
        (Setup { tls_roots: none, ..setup }.client(&own, &key), "the roots for TLS"),
        (setup.client(none, &key), "the own certificate"),
        (setup.client(&own, &Secret::new(none.to_vec())), "the own key"),
        // Another's certificate.
        (setup.client(&tls, &key), "with its key"),
    ];
    for (made, says) in rows {
        let refused = made.err().unwrap_or_else(|| panic!("{says}")).to_string();
        assert!(refused.contains(says) && refused.contains("give"), "{says}: {refused}");
        assert!(!refused.contains("PRIVATE"), "{refused}");
    }
}
