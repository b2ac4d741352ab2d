//! What Prometheus and Loki answer to an instant query. Both have the same form.

use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    data: Option<Data>,
}

#[derive(Debug, Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    kind: String,
    result: Value,
}

/// The number that an answer comes to; `None` when there is none to be had, which is neither harm nor health.
///
/// # Errors
/// In words, when it is not an answer, or not one number.
pub(super) fn number(body: &[u8]) -> Result<Option<f64>, String> {
    let answer: Answer = serde_json::from_slice(body).map_err(|error| format!("not an answer to a query: {error}"))?;
    if answer.status != "success" {
        return Err(answer.error.unwrap_or(answer.status));
    }
    let Data { kind, result } = answer.data.ok_or("an answer without data")?;
    let value = match kind.as_str() {
        "scalar" => sample(&result),
        "vector" => match result.as_array().map(Vec::as_slice) {
            Some([]) => return Ok(None),
            Some([one]) => sample(&one["value"]),
            Some(several) => {
                let count = several.len();
                return Err(format!("{count} series; one is accepted, as sum(…), max(…) or count(…) make it"));
            }
            None => None,
        },
        "streams" => return Err("lines; a number is accepted, as sum(count_over_time(…)) makes it".to_owned()),
        other => return Err(format!("a {other}; an instant vector of one series or a scalar is accepted")),
    };
    let value = value.ok_or("a value that is no number")?;
    // A ratio of nothing is no number, and says nothing.
    Ok(value.is_finite().then_some(value))
}

/// `[time, "value"]`.
fn sample(pair: &Value) -> Option<f64> {
    match pair.get(1)?.as_str()? {
        "NaN" => Some(f64::NAN),
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        text => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn success(kind: &str, result: &str) -> String {
        format!("{{\"status\":\"success\",\"data\":{{\"resultType\":\"{kind}\",\"result\":{result},\"stats\":{{}}}}}}")
    }

    #[test]
    fn one_number_is_an_answer_and_no_number_is_no_data() {
        let series = "{\"metric\":{\"a\":\"b\"},\"value\":[1732550000.123,\"0.25\"]}";
        for (body, value) in [
            (success("scalar", "[1732550000,\"7\"]"), Some(7.0)),
            (success("vector", &format!("[{series}]")), Some(0.25)),
            (success("vector", "[]"), None),
            (success("scalar", "[1,\"NaN\"]"), None),
            (success("vector", "[{\"metric\":{},\"value\":[1,\"+Inf\"]}]"), None),
        ] {
            assert_eq!(number(body.as_bytes()), Ok(value), "{body}");
        }
        for (body, part) in [
            (success("vector", &format!("[{series},{series}]")), "2 series"),
            (success("streams", "[]"), "count_over_time"),
            (success("matrix", "[]"), "a matrix"),
            (success("vector", "[{\"metric\":{},\"value\":[1,\"x\"]}]"), "no number"),
            ("{\"status\":\"error\",\"errorType\":\"bad_data\",\"error\":\"parse error\"}".to_owned(), "parse error"),
            ("<html>".to_owned(), "not an answer"),
            ("{\"status\":\"success\"}".to_owned(), "without data"),
        ] {
            let error = number(body.as_bytes()).expect_err(&body);
            assert!(error.contains(part), "{body}: {error}");
        }
    }
}
