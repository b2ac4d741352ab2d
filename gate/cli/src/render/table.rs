//! Columns that line up, without borders, so that `awk` and eyes both find them.

use std::fmt;

/// A table of text, headed.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these heads.
    #[must_use]
    pub fn new<const N: usize>(heads: [&str; N]) -> Self {
        Self { rows: vec![heads.map(str::to_owned).to_vec()] }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(Vec::from(cells));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.first().map_or(0, Vec::len);
        let widths: Vec<usize> =
            (0..columns).map(|column| self.rows.iter().map(|row| width(&row[column])).max().unwrap_or(0)).collect();
        for (place, row) in self.rows.iter().enumerate() {
            if place > 0 {
                writeln!(f)?;
            }
            for (column, cell) in row.iter().enumerate() {
                f.write_str(cell)?;
                if column + 1 < columns {
                    write!(f, "{:1$}", "", widths[column] + 2 - width(cell))?;
                }
            }
        }
        Ok(())
    }
}

/// Visible characters; styles take no room.
fn width(cell: &str) -> usize {
    anstream::adapter::strip_str(cell).map(|part| part.chars().count()).sum()
}

#[cfg(test)]
mod tests {
    use owo_colors::OwoColorize as _;

    use super::*;

    #[test]
    fn columns_line_up_whatever_their_style() {
        let mut table = Table::new(["A", "LONG", "B"]);
        table.row(["wider".red().to_string(), "x".to_owned(), "1".to_owned()]);
        table.row(["é".to_owned(), String::new(), "2".to_owned()]);
        let text = anstream::adapter::strip_str(&table.to_string()).to_string();
        assert_eq!(text, "A      LONG  B\nwider  x     1\né            2");
    }
}
