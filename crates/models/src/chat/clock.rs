//! The function `strftime_now` of chat templates.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// The present time in UTC by a `strftime` format; `None` for a directive that is not known.
pub(super) fn strftime_now(format: &str) -> Option<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    strftime(format, now)
}

/// `seconds` since 1970 by `format`.
fn strftime(format: &str, seconds: u64) -> Option<String> {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let hour12 = (hour + 11) % 12 + 1;
    let month_name = MONTHS[month as usize - 1];
    let day_name = DAYS[((days + 4) % 7) as usize];
    let mut text = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        // glibc's flag for numbers without padding
        let mut directive = chars.next()?;
        let plain = directive == '-';
        if plain {
            directive = chars.next()?;
        }
        let number = |text: &mut String, value: u64, width: usize| {
            let width = if plain { 0 } else { width };
            let _ = write!(text, "{value:0width$}");
        };
        match directive {
            'Y' => number(&mut text, year, 4),
            'y' => number(&mut text, year % 100, 2),
            'm' => number(&mut text, month, 2),
            'd' => number(&mut text, day, 2),
            'e' => {
                let _ = write!(text, "{day:2}");
            }
            'H' => number(&mut text, hour, 2),
            'I' => number(&mut text, hour12, 2),
            'M' => number(&mut text, minute, 2),
            'S' => number(&mut text, second, 2),
            'j' => number(&mut text, day_of_year(year, month, day), 3),
            'p' => text.push_str(if hour < 12 { "AM" } else { "PM" }),
            'B' => text.push_str(month_name),
            'b' | 'h' => text.push_str(&month_name[..3]),
            'A' => text.push_str(day_name),
            'a' => text.push_str(&day_name[..3]),
            'F' => {
                let _ = write!(text, "{year:04}-{month:02}-{day:02}");
            }
            'T' => {
                let _ = write!(text, "{hour:02}:{minute:02}:{second:02}");
            }
            'Z' => text.push_str("UTC"),
            'z' => text.push_str("+0000"),
            '%' => text.push('%'),
            _ => return None,
        }
    }
    Some(text)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn month_days(year: u64, month: u64) -> u64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Year, month and day, counted from 1, that is `days` after 1970-01-01.
fn date(mut days: u64) -> (u64, u64, u64) {
    // 400 years have always as many days, so the loop below is short whatever the clock says
    let mut year = 1970 + days / 146_097 * 400;
    days %= 146_097;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month = 1;
    while days >= month_days(year, month) {
        days -= month_days(year, month);
        month += 1;
    }
    (year, month, days + 1)
}

fn day_of_year(year: u64, month: u64, day: u64) -> u64 {
    (1..month).map(|month| month_days(year, month)).sum::<u64>() + day
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_formatted_as_strftime_does() {
        for (seconds, format, expected) in [
            (0, "%Y-%m-%d %H:%M:%S %A", "1970-01-01 00:00:00 Thursday"),
            (1_709_164_800, "%d %b %Y, day %j, %a", "29 Feb 2024, day 060, Thu"),
            (1_735_689_599, "%F %T %I %p %B %-d %%", "2024-12-31 23:59:59 11 PM December 31 %"),
            (4_107_542_400, "%e.%-m.%y", " 1.3.00"),
        ] {
            assert_eq!(strftime(format, seconds).as_deref(), Some(expected), "{format}");
        }
        assert_eq!(strftime("%Q", 0), None);
        assert_eq!(strftime("%", 0), None);
    }
}
