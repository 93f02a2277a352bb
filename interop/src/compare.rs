//! The same question to both: Ward finds what the server behind it finds, for the patients of the roster.

use serde_json::Value;

use crate::Error;
use crate::guard::Guard;
use crate::hfs::get;
use crate::read::page;
use crate::transcript::Transcript;

/// What the partner asks, and what hfs is asked to have the same.
const COMPARED: [(&str, &str); 14] = [
    ("Patient", "Patient?_id=355,85"),
    ("Patient?gender=male", "Patient?gender=male&_id=355,85"),
    (
        "Patient?birthdate=lt1950&_sort=birthdate",
        "Patient?birthdate=lt1950&_sort=birthdate&_id=355,85",
    ),
    ("Observation", "Observation?patient=355,85"),
    ("Observation?patient=355&_count=17", "Observation?patient=355&_count=17"),
    (
        "Observation?patient=85&_count=50&_total=accurate",
        "Observation?patient=85&_count=50&_total=accurate",
    ),
    (
        "Observation?code=http://loinc.org%7C8302-2&_sort=date",
        "Observation?code=http://loinc.org%7C8302-2&_sort=date&patient=355,85",
    ),
    (
        "Observation?patient=355&_sort=-date&_count=10",
        "Observation?patient=355&_sort=-date&_count=10",
    ),
    ("Observation?category=laboratory", "Observation?category=laboratory&patient=355,85"),
    ("Observation?date=ge2015&date=lt2021", "Observation?date=ge2015&date=lt2021&patient=355,85"),
    ("Observation?value-quantity=gt100", "Observation?value-quantity=gt100&patient=355,85"),
    (
        "Observation?code:not=8302-2&_count=100",
        "Observation?code:not=8302-2&_count=100&patient=355,85",
    ),
    ("Encounter?_count=7", "Encounter?patient=355,85&_count=7"),
    ("Practitioner?_count=7", "Practitioner?_count=7"),
];

/// Everything that a search finds, page by page.
fn all(
    mut get: impl FnMut(&str) -> Result<(u16, Value), Error>,
    first: &str,
) -> Result<Vec<String>, Error> {
    let (mut found, mut url) = (vec![], first.to_owned());
    for _ in 0..500 {
        let (status, value) = get(&url)?;
        if status != 200 {
            return Err(format!("{url}: status {status}: {value}").into());
        }
        let (names, next) = page(&value);
        found.extend(names);
        match next {
            Some(next) => url = next,
            None => return Ok(found),
        }
    }
    Err(format!("{first}: more than 500 pages").into())
}

impl Guard<'_> {
    /// For the patients of the roster Ward finds what hfs finds, in its order.
    pub fn compare(&self, script: &mut Transcript) -> Result<(), Error> {
        script.part("Ward finds what hfs finds");
        let mut rows = String::from(
            "| search through Ward | hfs was asked | records of both |\n|---|---|---|\n",
        );
        for (asked, direct) in COMPARED {
            let through = all(
                |url| self.curl(script, url, &[]).map(|(status, body, _)| (status, body)),
                asked,
            )?;
            let there = all(get, &format!("{}/{direct}", self.hfs.base))?;
            if through != there {
                return Err(format!("{asked}: Ward finds {through:?}, hfs {there:?}").into());
            }
            rows += &format!("| `{asked}` | `{direct}` | {} |\n", there.len());
        }
        script.table(&rows);
        script.ensure(true, "the same records in the same order, page by page")
    }
}
