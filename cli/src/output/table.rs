//! Columns that fit the terminal: the widest is cut first, and never the first one, which is the name one pastes.
//!
//! Pure: cells in, text out. Widths are of what is seen (Unicode), not of bytes.

use anstyle::Style;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::style::{DIM, PLAIN, paint};

const GAP: usize = 2;
/// A column is not cut below this many characters.
const NARROWEST: usize = 6;

/// One field: its text and its colour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    text: String,
    style: Style,
    /// What tells one from another stands at its end: that is cut last.
    by_end: bool,
}

impl Cell {
    /// A coloured field.
    pub fn styled(text: impl Into<String>, style: Style) -> Cell {
        let text: String = text.into();
        Cell { text: one_line(&text), style, by_end: false }
    }

    /// An image's reference, whose tag is what one looks for.
    pub fn image(reference: &str) -> Cell {
        Cell { by_end: true, ..Cell::styled(reference, PLAIN) }
    }

    /// A state's word in its colour.
    pub fn state(word: &str) -> Cell {
        Cell::styled(word, super::style::of_state(word))
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Cell {
        Cell::styled(text, PLAIN)
    }
}

/// Rows under titles.
#[derive(Debug, Clone, Default)]
pub struct Table {
    titles: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these columns.
    pub fn new(titles: &[&'static str]) -> Table {
        Table { titles: titles.to_vec(), rows: Vec::new() }
    }

    /// Adds a row of as many cells as there are columns.
    pub fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.titles.len());
        self.rows.push(cells);
    }

    /// Is there no row?
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The text, at most `width` columns wide where that is possible. Columns that are empty in all rows are left out.
    pub fn render(&self, width: Option<usize>) -> String {
        let shown: Vec<usize> =
            (0..self.titles.len()).filter(|c| *c == 0 || self.rows.iter().any(|r| !r[*c].text.is_empty())).collect();
        let mut widths: Vec<usize> = shown.iter().map(|c| self.natural_width(*c)).collect();
        if let Some(width) = width {
            shrink(&mut widths, width);
        }
        let mut out = String::new();
        let titles: Vec<Cell> = self.titles.iter().map(|t| Cell::styled(*t, DIM)).collect();
        for row in std::iter::once(&titles).chain(&self.rows) {
            let fields: Vec<&Cell> = shown.iter().map(|c| &row[*c]).collect();
            out.push_str(&render_row(&fields, &widths));
        }
        out
    }

    fn natural_width(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|row| row[column].text.width());
        cells.chain([self.titles[column].width()]).max().unwrap_or(0)
    }
}

/// Cuts the widest column but the first until the whole fits or nothing can be cut.
fn shrink(widths: &mut [usize], available: usize) {
    loop {
        let total = widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
        let Some(excess) = total.checked_sub(available).filter(|e| *e > 0) else { return };
        let Some((at, widest)) = widths.iter().copied().enumerate().skip(1).max_by_key(|(_, w)| *w) else { return };
        if widest <= NARROWEST {
            return;
        }
        let second = widths.iter().enumerate().skip(1).filter(|(i, _)| *i != at).map(|(_, w)| *w).max().unwrap_or(0);
        let floor = second.min(widest - 1).max(NARROWEST);
        widths[at] = widest.saturating_sub(excess).max(floor);
    }
}

fn render_row(cells: &[&Cell], widths: &[usize]) -> String {
    let last = cells.iter().rposition(|cell| !cell.text.is_empty()).unwrap_or(0);
    let mut line = String::new();
    for (at, (cell, width)) in cells.iter().zip(widths).enumerate().take(last + 1) {
        let text = if cell.by_end { cut_front(&cell.text, *width) } else { cut(&cell.text, *width) };
        let padding = if at == last { 0 } else { width - text.width() + GAP };
        line.push_str(&paint(cell.style, &text));
        line.extend(std::iter::repeat_n(' ', padding));
    }
    line.push('\n');
    line
}

/// The text in at most `width` columns, `…` standing for what was cut.
pub fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        out.push(c);
    }
    out.push('…');
    out
}

/// The end of the text in at most `width` columns, `…` standing for what was cut.
fn cut_front(text: &str, width: usize) -> String {
    let backwards = |text: &str| text.chars().rev().collect::<String>();
    backwards(&cut(&backwards(text), width))
}

/// The text in lines of at most `width` columns, broken between words; a longer word has a line of its own.
pub fn wrap(text: &str, width: Option<usize>) -> Vec<String> {
    let Some(width) = width else { return vec![text.to_owned()] };
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.width() + 1 + word.width() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Columns that a text takes, without its colours.
pub fn seen(text: &str) -> usize {
    anstream::adapter::strip_str(text).to_string().width()
}

/// Text from elsewhere made safe for one line: no line ends, no escape sequences.
pub fn one_line(text: &str) -> String {
    let plain = anstream::adapter::strip_str(text).to_string();
    let spaced = plain.replace(['\n', '\r', '\t'], " ");
    spaced.chars().filter(|c| !c.is_control()).collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new(&["NAME", "STATE", "IMAGE", "REASON"]);
        table.row(vec!["shop/web.1".into(), Cell::state("ready"), "nginx:1.27".into(), "".into()]);
        let reason = "image `shop/api:2` cannot be pulled: manifest unknown";
        table.row(vec!["shop/api.1".into(), Cell::state("failed"), "shop/api:2".into(), reason.into()]);
        table
    }

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn columns_are_aligned_and_lines_have_no_tail() {
        let want = "\
NAME        STATE   IMAGE       REASON
shop/web.1  ready   nginx:1.27
shop/api.1  failed  shop/api:2  image `shop/api:2` cannot be pulled: manifest unknown
";
        assert_eq!(plain(&sample().render(None)), want);
    }

    #[test]
    fn the_widest_column_is_cut_to_fit() {
        let want = "\
NAME        STATE   IMAGE       REASON
shop/web.1  ready   nginx:1.27
shop/api.1  failed  shop/api:2  image `shop/api:2` c…
";
        assert_eq!(plain(&sample().render(Some(53))), want);
    }

    #[test]
    fn the_name_is_never_cut() {
        for width in 1..100 {
            let text = plain(&sample().render(Some(width)));
            assert!(text.lines().nth(2).expect("third line").starts_with("shop/api.1"), "{width}");
            if width >= 42 {
                assert!(text.lines().all(|line| line.width() <= width), "{width}: {text}");
            }
        }
    }

    #[test]
    fn a_column_without_content_is_left_out() {
        let mut table = Table::new(&["NAME", "REASON"]);
        table.row(vec!["a".into(), "".into()]);
        assert_eq!(plain(&table.render(None)), "NAME\na\n");
    }

    #[test]
    fn width_is_what_is_seen() {
        assert_eq!(cut("日本語テキスト", 7), "日本語…");
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut_front("wherry/shop:next", 8), "…op:next");
        assert_eq!(cut_front("abc", 3), "abc");
    }

    #[test]
    fn sentences_are_broken_between_words() {
        assert_eq!(wrap("it is placed as soon", Some(9)), ["it is", "placed as", "soon"]);
        assert_eq!(wrap("incomprehensible to", Some(5)), ["incomprehensible", "to"]);
        assert_eq!(wrap("it is placed", None), ["it is placed"]);
    }

    #[test]
    fn foreign_text_cannot_move_the_cursor() {
        assert_eq!(one_line("a\nb\x1b[2Jc\x07\n"), "a bc");
    }
}
