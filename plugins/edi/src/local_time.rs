//! Dates as envelopes write them: without a zone, often without a century.

/// `2026-11-15T09:30` of YYMMDD or CCYYMMDD, and HHMM or HHMMSS (hundredths are left out). `None`: it is
/// no such time.
pub(crate) fn local_time(date: &[u8], time: &[u8]) -> Option<String> {
    let (date, time) = (digits(date)?, digits(time)?);
    let (century, date) = match date.len() {
        // No year before 1970 is of an interchange, and none from 2070 on yet.
        6 if date >= "70" => ("19", date),
        6 => ("20", date),
        8 => date.split_at(2),
        _ => return None,
    };
    let (year, month, day) = (&date[..2], &date[2..4], &date[4..]);
    if !matches!(time.len(), 4 | 6 | 8) {
        return None;
    }
    let (hour, minute) = (&time[..2], &time[2..4]);
    let seconds = time.get(4..6);
    let is_valid = ("01"..="12").contains(&month)
        && ("01"..="31").contains(&day)
        && hour <= "23"
        && minute <= "59"
        && seconds.is_none_or(|seconds| seconds <= "60");
    let seconds = seconds.map(|seconds| format!(":{seconds}")).unwrap_or_default();
    is_valid.then(|| format!("{century}{year}-{month}-{day}T{hour}:{minute}{seconds}"))
}

fn digits(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
    text.bytes().all(|b| b.is_ascii_digit()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(date: &str, time: &str) -> Option<String> {
        local_time(date.as_bytes(), time.as_bytes())
    }

    #[test]
    fn date_is_read_by_its_length() {
        assert_eq!(read("261115", "0930").as_deref(), Some("2026-11-15T09:30"));
        assert_eq!(read("20261115", "093001").as_deref(), Some("2026-11-15T09:30:01"));
        assert_eq!(read("991231", "23595999").as_deref(), Some("1999-12-31T23:59:59"));
    }

    #[test]
    fn what_is_no_time_is_none() {
        let none = [("", ""), ("261315", "0930"), ("26111", "0930"), ("261115", "2430")];
        for (date, time) in none.into_iter().chain([("2é111", "0930"), ("261115", "09:30")]) {
            assert_eq!(read(date, time), None, "{date} {time}");
        }
    }
}
