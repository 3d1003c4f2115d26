//! What of a text counts when two are compared.

/// White space never counts beyond one space between words; the rest is the task's choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Normalize {
    /// `Paris` is `paris`.
    pub ignore_case: bool,
    /// Only letters, digits and white space count.
    pub ignore_punctuation: bool,
}

impl Normalize {
    /// The text as it is compared.
    pub fn apply(self, text: &str) -> String {
        let text = self.case(text);
        let counts = |c: &char| !self.ignore_punctuation || c.is_alphanumeric() || c.is_whitespace();
        let text: String = text.chars().filter(counts).collect();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The text with its white space and punctuation, in lower case if case does not count.
    pub fn case(self, text: &str) -> String {
        if self.ignore_case { text.to_lowercase() } else { text.to_owned() }
    }

    /// Whether both are the same.
    pub fn equal(self, a: &str, b: &str) -> bool {
        a == b || self.apply(a) == self.apply(b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_task_says_is_ignored() {
        let rules = |ignore_case, ignore_punctuation| Normalize { ignore_case, ignore_punctuation };
        for (rules, a, b, equal) in [
            (rules(false, false), " a \n b ", "a b", true),
            (rules(false, false), "ab", "a b", false),
            (rules(false, false), "A", "a", false),
            (rules(true, false), "ÄB", "äb", true),
            (rules(true, false), "a.", "a", false),
            (rules(false, true), "「巴黎」。", "巴黎", true),
            (rules(false, true), "1,000", "1000", true),
            (rules(true, true), "It's Paris!", "its paris", true),
            (rules(true, true), "...", "", true),
        ] {
            assert_eq!(rules.equal(a, b), equal, "{rules:?} {a:?} {b:?}");
        }
    }
}
