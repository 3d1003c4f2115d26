//! Texts that end an answer.

/// Watches an answer's text for stop strings and holds back what may become one.
#[derive(Clone, Debug, Default)]
pub struct StopMatcher {
    stops: Vec<String>,
    held: String,
}

/// What [`StopMatcher::push`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched {
    /// Text that is certain to belong to the answer.
    pub text: String,
    /// The stop string that follows it, when the answer ends here.
    pub stop: Option<String>,
}

impl StopMatcher {
    /// Watches for `stops`; empty ones are ignored.
    pub fn new(stops: &[String]) -> StopMatcher {
        StopMatcher { stops: stops.iter().filter(|s| !s.is_empty()).cloned().collect(), held: String::new() }
    }

    /// Adds a piece of text. Of several stop strings the one that begins first wins.
    pub fn push(&mut self, piece: &str) -> Matched {
        if self.stops.is_empty() {
            return Matched { text: piece.to_owned(), stop: None };
        }
        self.held.push_str(piece);
        let first = self.stops.iter().filter_map(|s| self.held.find(s.as_str()).map(|at| (at, s))).min();
        if let Some((at, stop)) = first {
            let stop = stop.clone();
            self.held.truncate(at);
            return Matched { text: std::mem::take(&mut self.held), stop: Some(stop) };
        }
        // everything but the longest end that begins a stop string
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let from = self.held.len().saturating_sub(longest - 1);
        let certain = (from..self.held.len())
            .filter(|&at| self.held.is_char_boundary(at))
            .find(|&at| self.stops.iter().any(|s| s.starts_with(&self.held[at..])))
            .unwrap_or(self.held.len());
        let rest = self.held.split_off(certain);
        Matched { text: std::mem::replace(&mut self.held, rest), stop: None }
    }

    /// What is held back, when the answer ends without a stop string.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (String, Option<String>) {
        let mut matcher = StopMatcher::new(&stops.iter().map(|s| s.to_string()).collect::<Vec<_>>());
        let mut text = String::new();
        for piece in pieces {
            let found = matcher.push(piece);
            text += &found.text;
            if found.stop.is_some() {
                return (text, found.stop);
            }
        }
        (text + &matcher.finish(), None)
    }

    #[test]
    fn stops_are_found_across_pieces_and_left_out() {
        for (stops, pieces, text, stop) in [
            (vec!["END"], vec!["a E", "N", "D b"], "a ", Some("END")),
            (vec!["END"], vec!["a E", "N", "x"], "a ENx", None),
            (vec!["b", "ab"], vec!["xxab"], "xx", Some("ab")),
            (vec!["京都"], vec!["东京", "都市"], "东", Some("京都")),
            (vec!["\n\n"], vec!["a\n", "b\n", "\n", "c"], "a\nb", Some("\n\n")),
            (vec![], vec!["a", "b"], "ab", None),
        ] {
            assert_eq!(
                run(&stops, &pieces),
                (text.to_owned(), stop.map(str::to_owned)),
                "{stops:?} {pieces:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_cutting_gives_the_same_text(text in "[abc京]{0,40}", stop in "[abc京]{1,4}", cuts in prop::collection::vec(any::<bool>(), 40)) {
            let mut pieces = vec![String::new()];
            for (c, cut) in text.chars().zip(cuts) {
                if cut { pieces.push(String::new()); }
                pieces.last_mut().unwrap().push(c);
            }
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let (got, found) = run(&[&stop], &pieces);
            match text.find(&stop) {
                Some(at) => prop_assert_eq!((got, found), (text[..at].to_owned(), Some(stop))),
                None => prop_assert_eq!((got, found), (text, None)),
            }
        }
    }
}
