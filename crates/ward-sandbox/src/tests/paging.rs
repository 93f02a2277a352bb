//! Paging gives each match exactly once, whatever is written meanwhile.

use std::collections::BTreeSet;

use serde_json::json;

use super::{Reply, call, form, get, hospital, serve, strict};
use crate::Sandbox;

fn crowd(size: usize) -> Sandbox {
    let person = |number: usize| {
        let gender = if number.is_multiple_of(2) { "male" } else { "female" };
        json!({ "resourceType": "Patient", "id": format!("p{number:03}"), "gender": gender,
                "birthDate": format!("19{:02}-01-01", number * 7 % 30 + 50) })
    };
    hospital((0..size).map(person).collect())
}

async fn follow(base: &str, first: Reply, mut between: impl AsyncFnMut(usize)) -> Vec<Vec<String>> {
    let mut pages = vec![first.ids()];
    let mut next = first.link("next");
    while let Some(url) = next {
        between(pages.len()).await;
        assert!(pages.len() < 100, "paging does not end");
        let page = get(base, &url).await;
        pages.push(page.ids());
        next = page.link("next");
    }
    pages
}

#[tokio::test]
async fn each_match_exactly_once_under_writes() {
    for query in [
        "_count=7",
        "_count=7&gender=male",
        "_count=7&_sort=birthdate",
        "_count=7&_sort=-_lastUpdated,gender",
    ] {
        let sandbox = crowd(60);
        let running = serve(&sandbox).await;
        let base = &running.base_url;
        let whole = strict(
            base,
            &format!(
                "/Patient?{}&_count=500",
                query.replace("_count=7&", "").replace("_count=7", "")
            ),
        )
        .await;
        let whole = whole.ids();
        let first = strict(base, &format!("/Patient?{query}")).await;
        let total = first.json()["total"].clone();
        let pages = follow(base, first, async |page| {
            // A new patient, a changed one, a removed one: none of them moves the others.
            let new =
                json!({ "resourceType": "Patient", "gender": "male", "birthDate": "1950-01-01" })
                    .to_string();
            let headers = "Content-Type: application/fhir+json\r\n";
            assert_eq!(call(base, "POST", "/Patient", headers, &new).await.status, 201);
            let id = format!("p{:03}", 59 - page);
            let changed =
                json!({ "resourceType": "Patient", "id": id, "gender": "other" }).to_string();
            assert_eq!(
                call(base, "PUT", &format!("/Patient/{id}"), headers, &changed).await.status,
                200
            );
            assert_eq!(
                call(base, "DELETE", &format!("/Patient/p{:03}", 40 - page), "", "").await.status,
                204
            );
        })
        .await;
        assert!(pages.iter().rev().skip(1).all(|page| page.len() == 7), "{query}");
        let all: Vec<String> = pages.concat();
        assert_eq!(all, whole, "{query}");
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{query}");
        assert_eq!(total, all.len(), "{query}");
    }
}

#[tokio::test]
async fn post_search_pages_by_get() {
    let running = serve(&crowd(20)).await;
    let base = &running.base_url;
    let first = form(base, "/Patient/_search?_count=3", "gender=male&unknown=1").await;
    let pages = follow(base, first, async |_| {}).await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 3, 1]);
}

/// Without a total the search stops early; the pages are the same.
#[tokio::test]
async fn pages_without_a_total() {
    let running = serve(&crowd(20)).await;
    let base = &running.base_url;
    for query in
        ["_total=none", "_total=none&gender=male", "_total=none&gender=male&_sort=-birthdate"]
    {
        let whole = strict(base, &format!("/Patient?{query}&_count=500")).await.ids();
        let first = strict(base, &format!("/Patient?{query}&_count=5")).await;
        let pages = follow(base, first, async |_| {}).await;
        assert_eq!(pages.concat(), whole, "{query}");
    }
}

#[tokio::test]
async fn a_token_is_for_its_type_only() {
    let running = serve(&crowd(20)).await;
    let base = &running.base_url;
    let next = get(base, "/Patient?_count=3").await.link("next").unwrap();
    assert!(next.starts_with(&format!("{base}/Patient?_page=")), "{next}");
    assert_eq!(get(base, &next.replace("/Patient?", "/Observation?")).await.status, 400);
    assert_eq!(get(base, "/Patient?_page=AAAA").await.status, 400);
    assert_eq!(get(base, "/Patient?_page=%00").await.status, 400);
    // The last page has no next link, and a page of exactly all has none either.
    assert_eq!(get(base, "/Patient?_count=20").await.link("next"), None);
}

/// A patient-narrowed search looks at that patient's records, not at everybody's.
#[test]
fn narrowed_searches_read_little() {
    let sandbox = Sandbox::generate(11, 150);
    let store = sandbox.store.read().unwrap();
    assert!(store.len() > 15_000, "{}", store.len());
    let looked_at = |key: &str| store.candidates("Observation", Some(&[key.to_owned()])).len();
    let most =
        sandbox.patient_ids().iter().map(|id| looked_at(&format!("Patient/{id}"))).max().unwrap();
    assert!((20..200).contains(&most), "{most}");
}
