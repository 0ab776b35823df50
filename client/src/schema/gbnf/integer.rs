//! Integers within bounds, digit by digit.

use serde_json::Value;

use crate::schema::keywords::Unsupported;

/// The decimal spellings of the integers that a schema accepts, as the body of a rule. There is one spelling of each: no
/// leading zero, no fraction, no exponent, no negative zero.
pub(super) fn integers(schema: &Value) -> Result<String, Unsupported> {
    let (least, most) = (bound(schema, "minimum")?, bound(schema, "maximum")?);
    if let (Some(least), Some(most)) = (least, most)
        && least > most
    {
        return Err(Unsupported::shape(format!("no integer is from {least} to {most}")));
    }
    let mut ways = Vec::new();
    // What is below zero, by its distance from it.
    if least.is_none_or(|least| least < 0) {
        let nearest = most.map_or(1, |most| most.saturating_neg().max(1));
        let negative = from_to(nearest, least.map(i128::saturating_neg));
        ways.extend(negative.into_iter().map(|way| format!("\"-\" {way}")));
    }
    if most.is_none_or(|most| most >= 0) {
        ways.extend(from_to(least.unwrap_or(0).max(0), most));
    }
    Ok(ways.join(" | "))
}

fn bound(schema: &Value, name: &str) -> Result<Option<i128>, Unsupported> {
    match &schema[name] {
        Value::Null => Ok(None),
        Value::Number(number) => match number.as_i128() {
            Some(bound) => Ok(Some(bound)),
            None => Err(Unsupported::shape(format!("\"{name}\" is {number}, which is no bound of integers"))),
        },
        other => Err(Unsupported::shape(format!("\"{name}\" is {other}, which is no number"))),
    }
}

/// The spellings of the numbers from `least`, which is not negative, to `most`, shortest first.
fn from_to(least: i128, most: Option<i128>) -> Vec<String> {
    let shortest = least.to_string().len();
    let longest = most.map_or(shortest, |most| most.to_string().len());
    let mut ways = Vec::new();
    for digits in shortest..=longest {
        let first =
            if digits == shortest { least.to_string() } else { format!("1{}", "0".repeat(digits - 1)) };
        let last = match most {
            Some(most) if digits == longest => most.to_string(),
            _ => "9".repeat(digits),
        };
        ways.extend(between(first.as_bytes(), last.as_bytes()));
    }
    if most.is_none() {
        ways.push(format!("[1-9] [0-9]{{{shortest},}}"));
    }
    ways
}

/// The spellings of the numbers between two of the same length.
fn between(first: &[u8], last: &[u8]) -> Vec<String> {
    let (Some((a, from)), Some((b, to))) = (first.split_first(), last.split_first()) else {
        return vec![String::new()];
    };
    let lowest = from.iter().all(|digit| *digit == b'0');
    let highest = to.iter().all(|digit| *digit == b'9');
    if a == b && !(lowest && highest) {
        return after(&digit(*a, *a), &between(from, to));
    }
    let mut ways = Vec::new();
    if !lowest {
        ways.extend(after(&digit(*a, *a), &between(from, &vec![b'9'; from.len()])));
    }
    let (low, high) = (a + u8::from(!lowest), b - u8::from(!highest));
    if low <= high {
        let any = match from.len() {
            0 => String::new(),
            1 => " [0-9]".to_owned(),
            more => format!(" [0-9]{{{more}}}"),
        };
        ways.push(format!("{}{any}", digit(low, high)));
    }
    if !highest {
        ways.extend(after(&digit(*b, *b), &between(&vec![b'0'; to.len()], to)));
    }
    ways
}

fn after(digit: &str, ways: &[String]) -> Vec<String> {
    ways.iter().map(|way| format!("{digit} {way}").trim_end().to_owned()).collect()
}

fn digit(low: u8, high: u8) -> String {
    let (low, high) = (char::from(low), char::from(high));
    if low == high { format!("\"{low}\"") } else { format!("[{low}-{high}]") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(least: i64, most: i64, expected: &str) {
        assert_eq!(integers(&json!({"minimum": least, "maximum": most})).unwrap(), expected);
    }

    /// Reads the alternatives as regular expressions would.
    fn accepts(ways: &str, number: i64) -> bool {
        let pattern: String =
            ways.split(" | ").map(|way| way.replace(['"', ' '], "")).collect::<Vec<_>>().join("|");
        let schema = json!({"type": "string", "pattern": format!("^({pattern})$")});
        jsonschema::is_valid(&schema, &json!(number.to_string()))
    }

    #[test]
    fn bounds_are_exact() {
        for (least, most) in
            [(0, 0), (0, 9), (1, 100), (4, 8_388_608), (-12, 7), (-105, -98), (199, 1201), (0, 255)]
        {
            let ways = integers(&json!({"minimum": least, "maximum": most})).unwrap();
            for number in [least - 1, least, least + 1, (least + most) / 2, most - 1, most, most + 1] {
                assert_eq!(
                    accepts(&ways, number),
                    (least..=most).contains(&number),
                    "{number} of {least}..{most}: {ways}"
                );
            }
        }
        for number in -1300..1300 {
            let ways = integers(&json!({"minimum": -1001, "maximum": 1201})).unwrap();
            assert_eq!(accepts(&ways, number), (-1001..=1201).contains(&number), "{number}: {ways}");
        }
    }

    #[test]
    fn each_integer_has_one_spelling() {
        check(1, 100, "[1-9] | [1-9] [0-9] | \"1\" \"0\" \"0\"");
        check(0, 255, "[0-9] | [1-9] [0-9] | \"1\" [0-9]{2} | \"2\" [0-4] [0-9] | \"2\" \"5\" [0-5]");
        let all = integers(&json!({})).unwrap();
        assert_eq!(all, "\"-\" [1-9] | \"-\" [1-9] [0-9]{1,} | [0-9] | [1-9] [0-9]{1,}");
        let wide = integers(&json!({"minimum": 0, "maximum": u64::MAX})).unwrap();
        assert!(accepts(&wide, i64::MAX) && !accepts(&wide, -1), "{wide}");
    }

    #[test]
    fn a_bound_that_is_none_is_refused() {
        for schema in [json!({"minimum": 1.5}), json!({"maximum": "9"}), json!({"minimum": 2, "maximum": 1})]
        {
            assert!(integers(&schema).is_err(), "{schema}");
        }
    }
}
