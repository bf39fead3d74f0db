//! A text as a QR code (ISO/IEC 18004), for a friend's phone to read off the screen.

use qrcodegen::{QrCode, QrCodeEcc};

/// The code's modules row by row, `#` dark and `.` light, without the quiet zone of four light modules that belongs
/// around it. `None` for a text of more than 2,953 bytes, which no code holds.
pub fn rows(text: &str) -> Option<Vec<String>> {
    // A screen has neither scratches nor stains: the least correction makes the largest modules.
    let code = QrCode::encode_text(text, QrCodeEcc::Low).ok()?;
    let module = |x, y| if code.get_module(x, y) { '#' } else { '.' };
    Some((0..code.size()).map(|y| (0..code.size()).map(|x| module(x, y)).collect()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_its_three_finders() {
        let rows = rows(&"dustfs1-a".repeat(40)).expect("it fits");
        let side = rows.len();
        assert!(side >= 21 && (side - 21).is_multiple_of(4) && rows.iter().all(|row| row.len() == side), "{side}");
        let finder = ["#######.", "#.....#.", "#.###.#.", "#.###.#.", "#.###.#.", "#.....#.", "#######.", "........"];
        for (y, line) in finder.iter().enumerate() {
            let mirrored: String = line.chars().rev().collect();
            assert!(rows[y].starts_with(line) && rows[y].ends_with(&mirrored), "{}", rows[y]);
            assert!(rows[side - 1 - y].starts_with(line), "{}", rows[side - 1 - y]);
        }
    }

    #[test]
    fn too_long_a_text_has_none() {
        assert!(rows(&"\u{7f}".repeat(2_953)).is_some());
        assert!(rows(&"\u{7f}".repeat(2_954)).is_none());
    }
}
