//! What is said of arguments that do not fit: short, on one line, and without their values.

use serde_json::Value;

use super::{Mismatch, number};

/// Alternatives whose demands are told apart in a message.
const TOLD: usize = 4;
/// Longest part of a message, in characters.
pub const LONG: usize = 200;

/// What the alternatives demand, in words.
pub fn none_of(demands: &[Mismatch]) -> String {
    let mut told: Vec<&str> = Vec::new();
    for demand in demands {
        let problem = demand.problem.strip_prefix("expected ").unwrap_or(&demand.problem);
        let problem = problem.split(", got ").next().unwrap_or(problem);
        if !told.contains(&problem) {
            told.push(problem);
        }
        if told.len() > TOLD {
            break;
        }
    }
    if told.is_empty() || told.len() > TOLD {
        return format!("it fits none of the {} alternatives", demands.len());
    }
    clip(&format!("expected {}", told.join("; or ")))
}

pub fn word(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number::is_whole(number) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

pub fn values(wanted: &[Value]) -> String {
    let texts: Vec<String> = wanted.iter().take(20).map(short).collect();
    let more = if wanted.len() > texts.len() { ", …" } else { "" };
    format!("{}{more}", clip(&texts.join(", ")))
}

/// As JSON, of a long one as much as is shown of it.
fn short(value: &Value) -> String {
    match value {
        Value::String(text) => Value::String(text.chars().take(LONG).collect()).to_string(),
        Value::Array(_) | Value::Object(_) => format!("a certain {}", word(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

pub fn quoted(name: &str) -> String {
    format!("\"{}\"", clip(name))
}

/// Text of a schema or of arguments, short and on one line.
pub fn clip(text: &str) -> String {
    let mut out: String = text.chars().take(LONG).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(LONG).is_some() {
        out.push('…');
    }
    out
}
