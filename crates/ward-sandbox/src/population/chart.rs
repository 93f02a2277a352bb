//! A patient's chart: encounters with their vital signs, laboratory results and illnesses; long-lasting
//! problems with medication; allergies, vaccinations, smoking status.

use serde_json::{Value, json};

use super::codes::{
    ACT_CODE, ACUTE, ACUTE_MEDICATION, ALLERGIES, CHRONIC, CONFIDENTIALITY, CVX, Code, LABS, LOINC,
    Measure, RXNORM, SENSITIVE, SMOKING, SNOMED, UCUM, VACCINES, VISITS, VITALS,
};
use super::draw::{Draw, decimal};
use super::people::{Person, chart_id};
use super::staff::{Department, Staff};
use super::{Builder, concept, reference};

const CATEGORY: &str = "http://terminology.hl7.org/CodeSystem/observation-category";

/// Writes one chart; counts resources of each kind so that ids are unique.
struct Chart<'a, 'b> {
    builder: &'a mut Builder<'b>,
    draw: &'a Draw,
    person: &'a Person,
    observations: usize,
    conditions: usize,
    medications: usize,
}

pub(super) fn generate(builder: &mut Builder<'_>, draw: &Draw, staff: &Staff, person: &Person) {
    let mut chart = Chart { builder, draw, person, observations: 0, conditions: 0, medications: 0 };
    let visits = draw.range(4, 9);
    for number in 1..=visits {
        if let Some(department) = staff.department(draw) {
            chart.visit(usize::try_from(number).unwrap_or(1), department);
        }
    }
    chart.long_lasting(staff);
    chart.allergies_and_vaccines(staff);
    if draw.chance(12) {
        chart.sensitive(staff);
    }
}

impl Chart<'_, '_> {
    /// A day in the patient's life, at most `span` days ago.
    fn day(&self, span: i64) -> i64 {
        let earliest = (span + self.person.died).min(self.person.age);
        self.draw.range(1 + self.person.died, earliest.max(1))
    }

    fn subject(&self) -> Value {
        reference(&self.person.reference)
    }

    fn visit(&mut self, number: usize, department: &Department) {
        let days = self.day(1500);
        let practitioner = department.practitioner(self.draw).to_owned();
        let id = chart_id("enc", self.person.index, number);
        let encounter = format!("Encounter/{id}");
        let inpatient = self.draw.chance(15);
        let (class, class_display) =
            if inpatient { ("IMP", "inpatient encounter") } else { ("AMB", "ambulatory") };
        let (visit, visit_display) = self.draw.pick(&VISITS);
        let nights = if inpatient { self.draw.range(1, 3).min(days - self.person.died) } else { 0 };
        let end = 10 + 24 * nights;
        self.builder.add("Encounter", &id, days, json!({
            "status": "finished",
            "class": { "system": ACT_CODE, "code": class, "display": class_display },
            "type": [concept(SNOMED, visit, visit_display)],
            "subject": self.subject(),
            "participant": [{
                "type": [concept("http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "PPRF", "primary performer")],
                "individual": reference(&practitioner),
            }],
            "period": { "start": self.builder.instant(days, 9), "end": self.builder.instant(days, end) },
            "serviceProvider": reference(&department.organization),
            "location": [{ "location": reference(&department.location) }],
        }));
        for vital in &VITALS {
            self.measured("vital-signs", "Vital Signs", vital, days, &encounter, &practitioner);
        }
        self.blood_pressure(days, &encounter, &practitioner);
        self.body_size(days, &encounter, &practitioner);
        if self.draw.chance(70) {
            for lab in &LABS {
                if self.draw.chance(45) {
                    self.measured("laboratory", "Laboratory", lab, days, &encounter, &practitioner);
                }
            }
        }
        if self.draw.chance(40) {
            let illness = self.draw.pick(&ACUTE);
            self.condition(
                illness,
                days,
                Some((days - 10).max(self.person.died)),
                &encounter,
                &json!({}),
            );
            if self.draw.chance(60) {
                let medication = self.draw.pick(&ACUTE_MEDICATION);
                self.medication(medication, "completed", days, Some(&encounter), &practitioner);
            }
        }
    }

    fn observation(&mut self, days: i64, mut body: Value) {
        self.observations += 1;
        let id = chart_id("obs", self.person.index, self.observations);
        let (subject, at) = (self.subject(), self.builder.instant(days, 9));
        if let Some(object) = body.as_object_mut() {
            object.insert("status".into(), "final".into());
            object.insert("subject".into(), subject);
            object.insert("effectiveDateTime".into(), at.clone().into());
            object.insert("issued".into(), at.into());
        }
        self.builder.add("Observation", &id, days, body);
    }

    fn measured(
        &mut self,
        category: &str,
        category_display: &str,
        measure: &Measure,
        days: i64,
        encounter: &str,
        practitioner: &str,
    ) {
        let value = self.draw.decimal(measure.low, measure.high, measure.decimals);
        self.observation(
            days,
            json!({
                "category": [concept(CATEGORY, category, category_display)],
                "code": concept(LOINC, measure.code, measure.display),
                "encounter": reference(encounter),
                "performer": [reference(practitioner)],
                "valueQuantity": quantity(&value, measure.unit),
            }),
        );
    }

    fn blood_pressure(&mut self, days: i64, encounter: &str, practitioner: &str) {
        let systolic = self.draw.range(98, 158);
        let diastolic = self.draw.range(58, 92).min(systolic - 25);
        let part = |code, display, value: i64| json!({ "code": concept(LOINC, code, display), "valueQuantity": quantity(&value.into(), "mm[Hg]") });
        self.observation(days, json!({
            "category": [concept(CATEGORY, "vital-signs", "Vital Signs")],
            "code": concept(LOINC, "85354-9", "Blood pressure panel with all children optional"),
            "encounter": reference(encounter),
            "performer": [reference(practitioner)],
            "component": [
                part("8480-6", "Systolic blood pressure", systolic),
                part("8462-4", "Diastolic blood pressure", diastolic),
            ],
        }));
    }

    /// Height and weight that fit the age.
    fn body_size(&mut self, days: i64, encounter: &str, practitioner: &str) {
        let years = (self.person.age - days) / 365;
        let height = if years >= 18 {
            self.draw.range(152, 194)
        } else {
            55 + 6 * years + self.draw.range(0, 8)
        };
        let index = if years >= 18 { self.draw.range(190, 330) } else { self.draw.range(145, 210) };
        // Body mass index (tenths) times squared height (cm), as tenths of a kilogram.
        let weight = index * height * height / 10_000;
        for (code, display, value, unit) in [
            ("8302-2", "Body height", decimal(height, 0), "cm"),
            ("29463-7", "Body weight", decimal(weight, 1), "kg"),
            ("39156-5", "Body mass index (BMI) [Ratio]", decimal(index, 1), "kg/m2"),
        ] {
            self.observation(
                days,
                json!({
                    "category": [concept(CATEGORY, "vital-signs", "Vital Signs")],
                    "code": concept(LOINC, code, display),
                    "encounter": reference(encounter),
                    "performer": [reference(practitioner)],
                    "valueQuantity": quantity(&value, unit),
                }),
            );
        }
    }

    /// `meta` carries the security labels. Without `end` (days ago) the problem is active.
    fn condition(
        &mut self,
        code: Code,
        days: i64,
        end: Option<i64>,
        encounter: &str,
        meta: &Value,
    ) {
        self.conditions += 1;
        let id = chart_id("cond", self.person.index, self.conditions);
        let end = end.filter(|end| *end >= 0);
        let mut body = json!({
            "meta": meta,
            "clinicalStatus": { "coding": [{
                "system": "http://terminology.hl7.org/CodeSystem/condition-clinical",
                "code": if end.is_some() { "resolved" } else { "active" },
            }] },
            "verificationStatus": { "coding": [{
                "system": "http://terminology.hl7.org/CodeSystem/condition-ver-status",
                "code": "confirmed",
            }] },
            "category": [concept("http://terminology.hl7.org/CodeSystem/condition-category", "encounter-diagnosis", "Encounter Diagnosis")],
            "code": concept(SNOMED, code.0, code.1),
            "subject": self.subject(),
            "onsetDateTime": self.builder.date(days),
            "recordedDate": self.builder.date(days),
        });
        if let Some(object) = body.as_object_mut() {
            if let Some(end) = end {
                object.insert("abatementDateTime".into(), self.builder.date(end).into());
            }
            if !encounter.is_empty() {
                object.insert("encounter".into(), reference(encounter));
            }
        }
        self.builder.add("Condition", &id, days, body);
    }

    fn medication(
        &mut self,
        code: Code,
        status: &str,
        days: i64,
        encounter: Option<&str>,
        practitioner: &str,
    ) {
        self.medications += 1;
        let id = chart_id("med", self.person.index, self.medications);
        let mut body = json!({
            "status": status,
            "intent": "order",
            "medicationCodeableConcept": concept(RXNORM, code.0, code.1),
            "subject": self.subject(),
            "authoredOn": self.builder.instant(days, 10),
            "requester": reference(practitioner),
            "dosageInstruction": [{
                "text": "once daily",
                "timing": { "repeat": { "frequency": 1, "period": 1, "periodUnit": "d" } },
                "doseAndRate": [{ "doseQuantity": { "value": 1 } }],
            }],
        });
        if let (Some(object), Some(encounter)) = (body.as_object_mut(), encounter) {
            object.insert("encounter".into(), reference(encounter));
        }
        self.builder.add("MedicationRequest", &id, days, body);
    }

    fn long_lasting(&mut self, staff: &Staff) {
        let years = self.person.age / 365;
        let Some(department) = staff.department(self.draw) else { return };
        for (problem, medication) in CHRONIC {
            if self.draw.chance((years / 3).clamp(2, 25)) {
                let days = self.day(4000);
                let practitioner = department.practitioner(self.draw).to_owned();
                self.condition(problem, days, None, "", &json!({}));
                self.medication(medication, "active", days, None, &practitioner);
            }
        }
        let (code, display) = if years >= 14 {
            self.draw.pick(&SMOKING)
        } else {
            ("266919005", "Never smoked tobacco")
        };
        let days = self.day(700);
        self.observation(
            days,
            json!({
                "category": [concept(CATEGORY, "social-history", "Social History")],
                "code": concept(LOINC, "72166-2", "Tobacco smoking status"),
                "valueCodeableConcept": concept(SNOMED, code, display),
            }),
        );
    }

    fn allergies_and_vaccines(&mut self, staff: &Staff) {
        let index = self.person.index;
        for (number, (code, display)) in ALLERGIES.into_iter().enumerate() {
            if !self.draw.chance(9) {
                continue;
            }
            let days = self.day(3000);
            let (subject, date) = (self.subject(), self.builder.date(days));
            self.builder.add("AllergyIntolerance", &chart_id("alg", index, number + 1), days, json!({
                "clinicalStatus": concept("http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical", "active", "Active"),
                "verificationStatus": concept("http://terminology.hl7.org/CodeSystem/allergyintolerance-verification", "confirmed", "Confirmed"),
                "type": "allergy",
                "criticality": if self.draw.chance(20) { "high" } else { "low" },
                "code": concept(SNOMED, code, display),
                "patient": subject,
                "recordedDate": date,
            }));
        }
        let Some(department) = staff.department(self.draw) else { return };
        for (number, (code, display)) in VACCINES.into_iter().enumerate() {
            if !self.draw.chance(55) {
                continue;
            }
            let days = self.day(2500);
            let (subject, at) = (self.subject(), self.builder.instant(days, 11));
            self.builder.add(
                "Immunization",
                &chart_id("imm", index, number + 1),
                days,
                json!({
                    "status": "completed",
                    "vaccineCode": concept(CVX, code, display),
                    "patient": subject,
                    "occurrenceDateTime": at,
                    "primarySource": true,
                    "location": reference(&department.location),
                }),
            );
        }
    }

    /// A problem that carries security labels: restricted, and why.
    fn sensitive(&mut self, staff: &Staff) {
        let (problem, (label, display)) = self.draw.pick(&SENSITIVE);
        let mut security = vec![
            json!({ "system": CONFIDENTIALITY, "code": "R", "display": "restricted" }),
            json!({ "system": ACT_CODE, "code": label, "display": display }),
        ];
        if label == "ETH" {
            security.push(
                json!({ "system": ACT_CODE, "code": "42CFRPart2", "display": "42 CFR Part2" }),
            );
        }
        let meta = json!({ "security": security });
        let days = self.day(2000);
        self.condition(problem, days, None, "", &meta);
        let Some(department) = staff.department(self.draw) else { return };
        let practitioner = department.practitioner(self.draw).to_owned();
        self.observation(
            days,
            json!({
                "meta": meta,
                "category": [concept(CATEGORY, "social-history", "Social History")],
                "code": concept(LOINC, "75626-2", "Total score [AUDIT-C]"),
                "performer": [reference(&practitioner)],
                "valueInteger": self.draw.range(0, 12),
            }),
        );
    }
}

fn quantity(value: &Value, unit: &str) -> Value {
    json!({ "value": value, "unit": unit, "system": UCUM, "code": unit })
}
