//! E1–E5, E18, RS-08, RS-09: pages of what is visible, and cursors that fit one question only.

use std::collections::BTreeSet;
use std::time::Duration;

use http::StatusCode;
use ward_core::Limits;

use crate::support::*;

/// 60 records; every third is visible (a or b), the others are z's.
fn mixed() -> Vec<serde_json::Value> {
    (0..60)
        .map(|n| {
            let owner = match n % 6 {
                0 => "a",
                3 => "b",
                _ => "z",
            };
            observation(&format!("o{n}"), owner)
        })
        .collect()
}

/// Follows `next` to the end; returns the ids page by page.
async fn walk(door: &Door, first: &str) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut target = Some(first.to_owned());
    while let Some(next) = target {
        let answer = door.get(&next).await;
        assert_eq!(answer.status, StatusCode::OK, "{next}");
        pages.push(answer.ids());
        target = answer.next();
        assert!(pages.len() < 100, "paging does not end");
    }
    pages
}

#[tokio::test]
async fn every_visible_record_comes_exactly_once_and_pages_are_full() {
    let visible: Vec<String> = (0..60).step_by(3).map(|n| format!("o{n}")).collect();
    for (page_max, upstream_page) in [(3, 200), (7, 3), (200, 4), (200, 200)] {
        for count in [1, 2, 3, 7, 19, 20, 21] {
            let limits = Limits { page_max, upstream_page, ..limits() };
            let door = Door::before(server(mixed()), limits).await;
            let pages = walk(&door, &format!("/Observation?_count={count}")).await;
            let all: Vec<String> = pages.iter().flatten().cloned().collect();
            assert_eq!(all, visible, "count {count}, page_max {page_max}");
            let size = count.min(page_max);
            let (last, full) = pages.split_last().unwrap();
            assert!(full.iter().all(|page| page.len() == size), "a page is not full");
            assert!(!last.is_empty(), "the last page is empty");
            assert_eq!(pages.len(), visible.len().div_ceil(size));
        }
    }
}

#[tokio::test]
async fn at_the_work_limit_there_is_a_short_page_and_a_next_link() {
    let limits = Limits { upstream_page: 5, refill_pages: 2, ..limits() };
    let door = Door::before(server(mixed()), limits).await;
    let pages = walk(&door, "/Observation?_count=5").await;
    assert!(pages.iter().any(|page| page.len() < 5));
    assert_eq!(pages.concat().len(), 20);
    let unique: BTreeSet<String> = pages.concat().into_iter().collect();
    assert_eq!(unique.len(), 20);
}

#[tokio::test]
async fn a_next_link_never_says_that_hidden_records_lie_ahead() {
    let mut records: Vec<_> = (0..5).map(|n| observation(&format!("o{n}"), "a")).collect();
    records.extend((5..50).map(|n| observation(&format!("o{n}"), "z")));
    let door = Door::over(records).await;
    let answer = door.get("/Observation?_count=5").await;
    assert_eq!(answer.ids().len(), 5);
    assert_eq!(answer.next(), None);
    assert_eq!(answer.json()["total"], 5);
}

#[tokio::test]
async fn totals_count_what_is_visible() {
    let door = Door::over(mixed()).await;
    for (target, total) in [
        ("/Observation?_count=30", Some(20)),
        ("/Observation?_count=5", None),
        ("/Observation?_count=5&_total=none", None),
        ("/Observation?_count=5&_total=accurate", Some(20)),
        ("/Observation?_count=5&_total=estimate", Some(20)),
        ("/Observation?_summary=count", Some(20)),
        ("/Observation?_count=0", Some(20)),
        ("/Observation?subject=Patient/z", Some(0)),
        ("/Observation?subject=Patient/z&_summary=count", Some(0)),
    ] {
        let bundle = door.get(target).await.json();
        assert_eq!(bundle["total"].as_u64(), total, "{target}");
        if target.contains("_summary") || target.contains("_count=0") {
            assert!(bundle.get("entry").is_none(), "{target}");
        }
    }
    let limits = Limits { upstream_page: 5, refill_pages: 2, ..limits() };
    let door = Door::before(server(mixed()), limits).await;
    let bundle = door.get("/Observation?_summary=count").await.json();
    assert!(bundle.get("total").is_none(), "counted beyond the work limit");
}

#[tokio::test]
async fn provably_empty_searches_ask_nothing() {
    let door = Door::over(mixed()).await;
    let answer = door.get("/Observation?subject=Patient/z").await;
    assert_eq!((answer.status, answer.ids().len(), answer.next()), (StatusCode::OK, 0, None));
    assert!(answer.json().get("entry").is_none(), "FHIR forbids empty arrays");
    assert!(door.seen.lock().unwrap().is_empty());
    assert_eq!(door.events().len(), 1);
}

#[tokio::test]
async fn a_cursor_fits_one_grant_one_question_and_its_life() {
    let door = Door::over(mixed()).await;
    let absent = door.get("/Observation/absent").await;
    let next = door.get("/Observation?_count=5").await.next().unwrap();
    let cursor = next.split_once("_cursor=").unwrap().1.to_owned();
    assert_eq!(door.get(&next).await.ids()[0], "o15");

    let mut altered = cursor.clone().into_bytes();
    altered[400] = if altered[400] == b'0' { b'1' } else { b'0' };
    let altered = String::from_utf8(altered).unwrap();
    for target in [
        format!("/Observation?_count=6&_cursor={cursor}"),
        format!("/Observation?_cursor={cursor}"),
        format!("/Observation?_count=5&patient=Patient/a&_cursor={cursor}"),
        format!("/Encounter?_count=5&_cursor={cursor}"),
        format!("/Observation?_count=5&_cursor={altered}"),
        format!("/Observation?_count=5&_cursor={}", &cursor[2..]),
        format!("/Observation?_count=5&_cursor={}", cursor.to_uppercase()),
        format!("/Observation?_count=5&_cursor={cursor}A"),
        "/Observation?_count=5&_cursor=x".to_owned(),
    ] {
        assert_eq!(door.get(&target).await.comparable(), absent.comparable(), "{target}");
    }
    let foreign = door.send(request("GET", &next, &[("authorization", "Bearer other")])).await;
    assert_eq!(foreign.comparable(), absent.comparable(), "another grant");

    door.clock.advance(Duration::from_secs(599));
    assert_eq!(door.get(&next).await.status, StatusCode::OK);
    door.clock.advance(Duration::from_secs(1));
    assert_eq!(door.get(&next).await.comparable(), absent.comparable(), "expired");
}

#[tokio::test]
async fn cursors_have_one_length_and_hide_the_upstreams_paging() {
    let door = Door::over(mixed()).await;
    let mut lengths = BTreeSet::new();
    let mut target = Some("/Observation?_count=3".to_owned());
    while let Some(next) = target {
        let answer = door.get(&next).await;
        assert!(!String::from_utf8_lossy(&answer.body.clone().unwrap()).contains("_offset"));
        target = answer.next();
        lengths.extend(target.as_ref().map(String::len));
    }
    assert_eq!(lengths.len(), 1);
}

#[tokio::test]
async fn a_page_is_planned_with_the_facts_of_today() {
    let door = Door::over(mixed()).await;
    let next = door.get("/Observation?_count=5").await.next().unwrap();
    *door.roster.0.lock().unwrap() = Some(known(["b"]));
    let answer = door.get(&next).await;
    assert!(answer.ids().iter().all(|id| id[1..].parse::<u32>().unwrap() % 6 == 3), "{answer:?}");
}

#[tokio::test]
async fn links_say_what_the_client_asked_and_dropped_names_are_told() {
    let door = Door::over(mixed()).await;
    let answer = door.get("/Patient?_sort=family&_id=a,z&nonsense=1").await;
    let bundle = answer.json();
    let own = bundle["link"][0]["url"].as_str().unwrap().to_owned();
    assert!(own.starts_with(&format!("{PUBLIC}/Patient?_id=a,z")), "{own}");
    assert!(!own.contains("nonsense"));
    assert_eq!(bundle["entry"][0]["search"]["mode"], "outcome");
    assert!(bundle["entry"][0].to_string().contains("nonsense"));
    assert!(!door.seen.lock().unwrap()[0].contains("nonsense"));
    assert!(door.seen.lock().unwrap()[0].starts_with("GET /fhir/Patient?_id=a&"));
}

#[tokio::test]
async fn paging_links_of_other_servers_are_followed() {
    // HAPI: a token instead of the criteria. Others: a path of its own, a relative link.
    let styles: [fn(&str, usize) -> String; 3] = [
        |base, at| format!("{base}?_getpages=f00&_getpagesoffset={at}&_bundletype=searchset"),
        |base, at| format!("{base}/pages/f00/{at}"),
        |_, at| format!("pages/f00/{at}?x=%2F"),
    ];
    for style in styles {
        let script = move |base: &str, target: &str| {
            let number =
                |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
            let at: usize = ["_getpagesoffset=", "pages/f00/"]
                .iter()
                .find_map(|mark| target.split_once(mark))
                .map_or(0, |(_, rest)| number(rest).parse().unwrap());
            let entry: Vec<_> = mixed()
                .into_iter()
                .skip(at)
                .take(7)
                .map(|r| serde_json::json!({"resource": r}))
                .collect();
            let mut link = Vec::new();
            if at + 7 < 60 {
                link.push(serde_json::json!({"relation": "next", "url": style(base, at + 7)}));
            }
            fhir(
                &serde_json::json!({"resourceType": "Bundle", "type": "searchset", "link": link, "entry": entry}),
            )
        };
        let limits = Limits { refill_pages: 20, ..limits() };
        let door = Door::before(std::sync::Arc::new(script), limits).await;
        let pages = walk(&door, "/Observation?_count=4").await;
        let visible: Vec<String> = (0..60).step_by(3).map(|n| format!("o{n}")).collect();
        assert_eq!(pages.concat(), visible);
    }
}

#[tokio::test]
async fn a_paging_link_that_fits_no_cursor_is_parked() {
    let script = |length: usize| {
        move |base: &str, target: &str| {
            let at = usize::from(target.contains("token="));
            let entry: Vec<_> = (0..3)
                .map(|n| serde_json::json!({"resource": observation(&format!("o{at}{n}"), "a")}))
                .collect();
            let url = format!("{base}?token={}", "x".repeat(length));
            let link = serde_json::json!([{"relation": "next", "url": url}]);
            let link = if at == 0 { link } else { serde_json::json!([]) };
            fhir(
                &serde_json::json!({"resourceType": "Bundle", "type": "searchset", "link": link, "entry": entry}),
            )
        }
    };
    let door = Door::before(std::sync::Arc::new(script(7000)), limits()).await;
    let pages = walk(&door, "/Observation?_count=4").await;
    assert_eq!(pages.concat(), ["o00", "o01", "o02", "o10", "o11", "o12"]);
    // Forgotten: the caller begins again.
    let limits = Limits { parked_links: 1, ..limits() };
    let door = Door::before(std::sync::Arc::new(script(7000)), limits.clone()).await;
    let next = door.get("/Observation?_count=4").await.next().unwrap();
    assert_eq!(door.get(&next).await.ids(), ["o11", "o12"]);
    // Longer than anybody's link.
    let door = Door::before(std::sync::Arc::new(script(20_000)), limits).await;
    assert_eq!(door.get("/Observation?_count=4").await.status, StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn large_records_are_fetched_in_smaller_pieces() {
    let records = (0..12).map(|n| {
        let mut record = observation(&format!("o{n}"), if n % 4 == 3 { "z" } else { "a" });
        record["note"] = serde_json::json!([{"text": "x".repeat(20_000)}]);
        record
    });
    let limits = Limits { upstream_body_bytes: 65_536, refill_pages: 8, ..limits() };
    let door = Door::before(server(records.collect()), limits).await;
    let pages = walk(&door, "/Observation?_count=4").await;
    let visible: Vec<String> = (0..12).filter(|n| n % 4 != 3).map(|n| format!("o{n}")).collect();
    assert_eq!(pages.concat(), visible);
}

#[tokio::test]
async fn servers_that_write_the_query_into_their_paging_link_are_followed() {
    let ids: Vec<String> = (0..50).map(|n| format!("{n:08}-1111-4111-8111-111111111111")).collect();
    let records: Vec<_> = ids
        .iter()
        .map(|id| serde_json::json!({"resourceType": "Encounter", "id": id, "subject": {"reference": format!("Patient/{id}")}}))
        .collect();
    let honest = server(records);
    // The paging token is the hexadecimal text of what the honest server would have said.
    let script = move |base: &str, target: &str| {
        let target = match target.split_once("?_page=") {
            Some((_, token)) => {
                let digits: Vec<char> = token.chars().collect();
                let octet = |pair: &[char]| {
                    u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()
                };
                String::from_utf8(digits.chunks(2).map(octet).collect()).unwrap()
            }
            None => target.to_owned(),
        };
        let Reply::Raw(bytes) = honest(base, &target) else { panic!("no reply") };
        let text = String::from_utf8(bytes).unwrap();
        let mut bundle: serde_json::Value =
            serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
        for link in bundle["link"].as_array_mut().unwrap() {
            if link["relation"] == "next" {
                let next = link["url"].as_str().unwrap().strip_prefix(base).unwrap().to_owned();
                let token = ward_core::crypto::hex(next.as_bytes());
                link["url"] = format!("{base}/Encounter?_page={token}").into();
            }
        }
        fhir(&bundle)
    };
    let door = Door::before(std::sync::Arc::new(script), limits()).await;
    *door.roster.0.lock().unwrap() = Some(known(ids.iter().map(String::as_str)));
    let pages = walk(&door, "/Encounter?_count=20").await;
    assert_eq!(pages.concat(), ids);
    assert!(door.seen.lock().unwrap()[0].contains("patient="), "narrowed");
}
