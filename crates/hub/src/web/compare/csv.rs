//! The tensors of a comparison as a sheet.

use std::fmt::Write;

use serde_json::Value;

/// One line for each tensor, after one with the names of the columns.
pub(super) fn tensors(document: &Value) -> String {
    let mut text = "name_a,name_b,dtype_a,dtype_b,shape_a,shape_b,state,elements,changed,relative,cosine,largest,\
                    rank_low,rank_effective\r\n"
        .to_owned();
    for tensor in document.get("tensors").and_then(Value::as_array).into_iter().flatten() {
        let of = |side: &str, key: &str| tensor.get(side).and_then(|side| side.get(key));
        let shape = |side: &str| {
            let extents = of(side, "shape").and_then(Value::as_array);
            extents.map(|list| list.iter().map(plain).collect::<Vec<_>>().join("x")).unwrap_or_default()
        };
        let rank = |key: &str| tensor.get("rank").and_then(|rank| rank.get(key)).map(plain).unwrap_or_default();
        let own = |key: &str| tensor.get(key).map(plain).unwrap_or_default();
        let side = |side: &str, key: &str| of(side, key).map(plain).unwrap_or_default();
        let cells = [
            side("a", "name"),
            side("b", "name"),
            side("a", "dtype"),
            side("b", "dtype"),
            shape("a"),
            shape("b"),
            own("state"),
            own("elements"),
            own("changed"),
            own("relative"),
            own("cosine"),
            own("largest"),
            rank("low"),
            rank("effective"),
        ];
        let cells: Vec<String> = cells.iter().map(|cell| quoted(cell)).collect();
        let _ = write!(text, "{}\r\n", cells.join(","));
    }
    text
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A cell as RFC 4180 wants it. What a spreadsheet would take for a formula gets an apostrophe before it: names of tensors
/// come from strangers.
fn quoted(cell: &str) -> String {
    let number = cell.parse::<f64>().is_ok();
    let safe = if !number && cell.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{cell}")
    } else {
        cell.to_owned()
    };
    if safe.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", safe.replace('"', "\"\"")) } else { safe }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hostile_names_are_cells_and_no_formulas() {
        let document = json!({"tensors": [
            {"state": "changed", "a": {"name": "=1+1", "dtype": "F32", "shape": [2, 3]}, "b": {"name": "a\"b,c\nd", "dtype": "BF16",
             "shape": []}, "elements": 6, "changed": 5, "relative": -0.5, "cosine": null, "rank": {"low": 2, "effective": 1.5}},
            {"state": "added", "a": null, "b": {"name": "x", "dtype": "F32", "shape": [1]}},
        ]});
        let text = tensors(&document);
        let lines: Vec<&str> = text.split("\r\n").collect();
        assert_eq!(lines[1], "'=1+1,\"a\"\"b,c\nd\",F32,BF16,2x3,,changed,6,5,-0.5,,,2,1.5");
        assert_eq!(lines[2], ",x,,F32,,1,added,,,,,,,");
        assert_eq!(lines.len(), 4);
    }
}
