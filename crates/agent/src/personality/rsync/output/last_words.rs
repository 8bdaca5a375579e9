//! What is left of a run that failed: the last of its errors.

/// The last lines that told of errors, few enough for a pod's status.
#[derive(Debug, Default)]
pub(super) struct LastWords(Vec<u8>);

impl LastWords {
    /// Adds a line, with its newline.
    pub(super) fn add(&mut self, line: &[u8]) {
        self.0.extend_from_slice(line);
        let Some(surplus) = self.0.len().checked_sub(MOST) else {
            return;
        };
        let newline = self.0[surplus..].iter().position(|&byte| byte == b'\n');
        // A line that is longer than all of it keeps its end.
        let from = newline.map(|at| surplus + at + 1);
        let from = from.filter(|&from| from < self.0.len()).unwrap_or(surplus);
        self.0.drain(..from);
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

/// Bytes: half of what a kubelet keeps of a container's termination message.
const MOST: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_the_last_whole_lines() {
        let mut words = LastWords::default();
        for n in 0..1000 {
            words.add(format!("error {n}\n").as_bytes());
        }
        let text = words.text();
        assert!(
            text.len() <= MOST && text.len() > MOST - 20,
            "{}",
            text.len()
        );
        assert!(
            text.starts_with("error ") && text.ends_with("error 999\n"),
            "{text}"
        );
    }

    #[test]
    fn line_longer_than_the_space_keeps_its_end() {
        let mut words = LastWords::default();
        words.add(&[&[b'x'; 3 * MOST][..], b"end\n"].concat());
        assert!(words.text().len() == MOST && words.text().ends_with("xend\n"));
    }
}
