//! A report as SARIF 2.1.0, for the programs that show findings beside code.

use serde_json::{Value, json};

use super::report::{Finding, Report};
use super::rules;
use super::verdict::Severity;

/// The document.
#[must_use]
pub fn document(report: &Report) -> Value {
    let rules: Vec<Value> = rules::ALL
        .iter()
        .filter(|rule| report.findings.iter().any(|finding| finding.rule == rule.id))
        .map(|rule| {
            json!({
                "id": rule.id,
                "shortDescription": { "text": rule.title },
                "help": { "text": rule.advice },
                "properties": { "advisories": rule.refs },
            })
        })
        .collect();
    let results: Vec<Value> = report.findings.iter().map(result).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "weighthouse",
                "version": report.tool.version,
                "rules": rules,
                "properties": { "rules_version": report.rules_version },
            }},
            "results": results,
            "properties": { "verdict": report.verdict },
        }],
    })
}

fn result(finding: &Finding) -> Value {
    let level = match finding.severity {
        Severity::Info => "note",
        Severity::Low | Severity::Medium => "warning",
        Severity::High | Severity::Critical => "error",
    };
    let mut location = json!({ "artifactLocation": { "uri": uri(&finding.file) } });
    if let (Some(offset), None) = (finding.offset, &finding.member) {
        location["region"] = json!({ "byteOffset": offset, "byteLength": 1 });
    }
    let within = [finding.member.as_deref(), finding.path_in_object.as_deref()];
    let logical: Vec<Value> = within.into_iter().flatten().map(|name| json!({ "fullyQualifiedName": name })).collect();
    let place = within.into_iter().flatten().collect::<Vec<_>>().join(" ");
    let text = if place.is_empty() { finding.detail.clone() } else { format!("{place}: {}", finding.detail) };
    json!({
        "ruleId": finding.rule,
        "level": level,
        "message": { "text": text },
        "locations": [{ "physicalLocation": location, "logicalLocations": logical }],
        "properties": { "verdict": finding.verdict, "confidence": finding.confidence, "offset": finding.offset },
    })
}

/// A path as a relative reference: what is not plain is escaped.
fn uri(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}
