//! The codes of the synthetic hospital: real codes of LOINC, UCUM, SNOMED CT, RxNorm and CVX, with
//! values that a clinician would find plausible.

pub(super) const LOINC: &str = "http://loinc.org";
pub(super) const UCUM: &str = "http://unitsofmeasure.org";
pub(super) const SNOMED: &str = "http://snomed.info/sct";
pub(super) const RXNORM: &str = "http://www.nlm.nih.gov/research/umls/rxnorm";
pub(super) const CVX: &str = "http://hl7.org/fhir/sid/cvx";
pub(super) const NPI: &str = "http://hl7.org/fhir/sid/us-npi";
pub(super) const CONFIDENTIALITY: &str = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";
pub(super) const ACT_CODE: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";

/// (code, display).
pub(super) type Code = (&'static str, &'static str);

/// A measurement: LOINC code, display, UCUM unit, least and greatest value in units of 10^-decimals.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Measure {
    pub(super) code: &'static str,
    pub(super) display: &'static str,
    pub(super) unit: &'static str,
    pub(super) low: i64,
    pub(super) high: i64,
    pub(super) decimals: u32,
}

const fn measure(
    code: &'static str,
    display: &'static str,
    unit: &'static str,
    low: i64,
    high: i64,
    decimals: u32,
) -> Measure {
    Measure { code, display, unit, low, high, decimals }
}

pub(super) const VITALS: [Measure; 4] = [
    measure("8867-4", "Heart rate", "/min", 56, 104, 0),
    measure("9279-1", "Respiratory rate", "/min", 11, 20, 0),
    measure("8310-5", "Body temperature", "Cel", 361, 382, 1),
    measure("59408-5", "Oxygen saturation in Arterial blood by Pulse oximetry", "%", 93, 100, 0),
];

pub(super) const LABS: [Measure; 15] = [
    measure("4548-4", "Hemoglobin A1c/Hemoglobin.total in Blood", "%", 48, 89, 1),
    measure("2339-0", "Glucose [Mass/volume] in Blood", "mg/dL", 70, 182, 0),
    measure("2093-3", "Cholesterol [Mass/volume] in Serum or Plasma", "mg/dL", 138, 262, 0),
    measure("2085-9", "Cholesterol in HDL [Mass/volume] in Serum or Plasma", "mg/dL", 34, 78, 0),
    measure(
        "13457-7",
        "Cholesterol in LDL [Mass/volume] in Serum or Plasma by calculation",
        "mg/dL",
        62,
        168,
        0,
    ),
    measure("2571-8", "Triglyceride [Mass/volume] in Serum or Plasma", "mg/dL", 61, 240, 0),
    measure("2160-0", "Creatinine [Mass/volume] in Serum or Plasma", "mg/dL", 60, 142, 2),
    measure("2951-2", "Sodium [Moles/volume] in Serum or Plasma", "mmol/L", 134, 146, 0),
    measure("2823-3", "Potassium [Moles/volume] in Serum or Plasma", "mmol/L", 34, 52, 1),
    measure("718-7", "Hemoglobin [Mass/volume] in Blood", "g/dL", 108, 169, 1),
    measure("6690-2", "Leukocytes [#/volume] in Blood by Automated count", "10*3/uL", 39, 118, 1),
    measure("777-3", "Platelets [#/volume] in Blood by Automated count", "10*3/uL", 148, 402, 0),
    measure(
        "1742-6",
        "Alanine aminotransferase [Enzymatic activity/volume] in Serum or Plasma",
        "U/L",
        9,
        61,
        0,
    ),
    measure("3016-3", "Thyrotropin [Units/volume] in Serum or Plasma", "m[IU]/L", 40, 480, 2),
    measure("3094-0", "Urea nitrogen [Mass/volume] in Serum or Plasma", "mg/dL", 7, 26, 0),
];

/// Smoking status (LOINC 72166-2), SNOMED CT.
pub(super) const SMOKING: [Code; 3] = [
    ("266919005", "Never smoked tobacco"),
    ("8517006", "Ex-smoker"),
    ("449868002", "Smokes tobacco daily"),
];

/// Long-lasting problems with the medication that often follows (RxNorm).
pub(super) const CHRONIC: [(Code, Code); 10] = [
    (("38341003", "Hypertensive disorder"), ("314076", "Lisinopril 10 MG Oral Tablet")),
    (
        ("44054006", "Diabetes mellitus type 2"),
        ("860975", "24 HR Metformin hydrochloride 500 MG Extended Release Oral Tablet"),
    ),
    (
        ("195967001", "Asthma"),
        ("2123111", "NDA020503 200 ACTUAT Albuterol 0.09 MG/ACTUAT Metered Dose Inhaler"),
    ),
    (("53741008", "Coronary arteriosclerosis"), ("243670", "Aspirin 81 MG Oral Tablet")),
    (("88805009", "Chronic congestive heart failure"), ("313988", "Furosemide 40 MG Oral Tablet")),
    (("90560007", "Gout"), ("197319", "Allopurinol 100 MG Oral Tablet")),
    (("271737000", "Anemia"), ("310325", "Ferrous sulfate 325 MG Oral Tablet")),
    (("64859006", "Osteoporosis"), ("904419", "Alendronic acid 10 MG Oral Tablet")),
    (("55822004", "Hyperlipidemia"), ("314231", "Simvastatin 10 MG Oral Tablet")),
    (("239873007", "Osteoarthritis of knee"), ("198014", "Naproxen 500 MG Oral Tablet")),
];

/// Short illnesses.
pub(super) const ACUTE: [Code; 6] = [
    ("444814009", "Viral sinusitis"),
    ("195662009", "Acute viral pharyngitis"),
    ("10509002", "Acute bronchitis"),
    ("65363002", "Otitis media"),
    ("44465007", "Sprain of ankle"),
    ("75498004", "Acute bacterial sinusitis"),
];

/// What is given for them.
pub(super) const ACUTE_MEDICATION: [Code; 3] = [
    ("313782", "Acetaminophen 325 MG Oral Tablet"),
    ("562251", "Amoxicillin 250 MG / Clavulanate 125 MG Oral Tablet"),
    ("849574", "Naproxen sodium 220 MG Oral Tablet"),
];

pub(super) const ALLERGIES: [Code; 7] = [
    ("300913006", "Shellfish allergy"),
    ("419263009", "Allergy to tree pollen"),
    ("232350006", "House dust mite allergy"),
    ("91934008", "Allergy to nut"),
    ("300916003", "Latex allergy"),
    ("91935009", "Allergy to peanut"),
    ("91936005", "Allergy to penicillin"),
];

pub(super) const VACCINES: [Code; 7] = [
    ("140", "Influenza, seasonal, injectable, preservative free"),
    ("113", "Td (adult) preservative free"),
    ("133", "Pneumococcal conjugate PCV 13"),
    ("121", "zoster"),
    ("03", "MMR"),
    ("43", "Hep B, adult"),
    ("115", "Tdap"),
];

pub(super) const VISITS: [Code; 4] = [
    ("185349003", "Encounter for check up"),
    ("185345009", "Encounter for symptom"),
    ("185347001", "Encounter for problem"),
    ("371883000", "Outpatient procedure"),
];

/// Sensitive problems with their sensitivity label (v3-ActCode).
pub(super) const SENSITIVE: [(Code, Code); 4] = [
    (
        ("86406008", "Human immunodeficiency virus infection"),
        ("HIV", "HIV/AIDS information sensitivity"),
    ),
    (("35489007", "Depressive disorder"), ("PSY", "psychiatry disorder information sensitivity")),
    (("66590003", "Alcohol dependence"), ("ETH", "substance abuse information sensitivity")),
    (("75544000", "Opioid dependence"), ("ETH", "substance abuse information sensitivity")),
];

/// Department: SNOMED CT code and display of the clinical speciality, and a ward name.
pub(super) const DEPARTMENTS: [(&str, &str, &str); 6] = [
    ("394579002", "Cardiology", "Heart Centre"),
    ("419192003", "Internal medicine", "Internal Medicine"),
    ("394537008", "Pediatric specialty", "Children's Department"),
    ("394587001", "Psychiatry", "Psychiatry"),
    ("773568002", "Emergency medicine", "Emergency Department"),
    ("394814009", "General practice", "Family Practice"),
];

/// Family names with a given name for women and for men, and the language (BCP 47).
pub(super) const NAMES: [(&str, &str, &str, &str); 24] = [
    ("Nguyễn", "Lan", "Minh", "vi"),
    ("García López", "Lucía", "Álvaro", "es"),
    ("Müller", "Jutta", "Jörg", "de"),
    ("O'Connor", "Siobhán", "Seán", "en"),
    ("Kowalska-Łoś", "Małgorzata", "Paweł", "pl"),
    ("Öztürk", "Ayşe", "Ömer", "tr"),
    ("王", "芳", "伟", "zh"),
    ("佐藤", "陽子", "健", "ja"),
    ("김", "지은", "민준", "ko"),
    ("الهاشمي", "ليلى", "يوسف", "ar"),
    ("Иванова", "Ольга", "Дмитрий", "ru"),
    ("Παπαδόπουλος", "Ελένη", "Γιώργος", "el"),
    ("שרון", "נועה", "איתן", "he"),
    ("शर्मा", "प्रिया", "अर्जुन", "hi"),
    ("Okonkwo", "Chiamaka", "Chinedu", "ig"),
    ("Nkosi", "Thandeka", "Sipho", "zu"),
    ("Silva e Sousa", "Conceição", "João", "pt"),
    ("Lefèvre", "Zoé", "François", "fr"),
    ("Ångström", "Åsa", "Håkan", "sv"),
    ("Smith", "Mary", "John", "en"),
    ("Johnson", "Patricia", "Robert", "en"),
    ("Rossi", "Giulia", "Luca", "it"),
    ("van den Berg", "Anneke", "Jeroen", "nl"),
    ("Kealoha", "Leilani", "Keoni", "haw"),
];

/// City, state, first three digits of postal codes.
pub(super) const PLACES: [(&str, &str, &str); 6] = [
    ("Springfield", "MA", "011"),
    ("Riverside", "MA", "012"),
    ("Fairview", "CT", "060"),
    ("Georgetown", "NH", "030"),
    ("Salem", "MA", "019"),
    ("Newport", "RI", "028"),
];

pub(super) const STREETS: [&str; 6] = [
    "Sample Street",
    "Example Avenue",
    "Synthetic Lane",
    "Placeholder Road",
    "Specimen Way",
    "Test Square",
];
