//! An error and its causes as one line.
//!
//! Pure. Used where programs end with an error.

use std::error::Error;

/// The error, and each cause that its words do not tell already.
pub fn in_one_line(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !line.contains(&words) {
            line = format!("{line}: {words}");
        }
        cause = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Outer {
        #[error("cannot read f: {0}")]
        Telling(#[source] io::Error),
        #[error("cannot read f")]
        Silent(#[source] io::Error),
    }

    #[test]
    fn a_cause_is_told_once() {
        let cause = || io::Error::other("the disk is gone");
        assert_eq!(in_one_line(&Outer::Telling(cause())), "cannot read f: the disk is gone");
        assert_eq!(in_one_line(&Outer::Silent(cause())), "cannot read f: the disk is gone");
    }
}
