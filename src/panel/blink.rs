//! How a code is blinked, as times that whoever looks on can count on: a person, or a test outside the box.
//!
//! ```text
//! dark 1 s | lit 2 s | dark 1 s | digit | dark 1 s | digit | dark 1 s | ... and from the start
//! ```
//!
//! A digit is that many blinks, 0 is ten. Nothing but the lead-in is lit for a second or more, and nothing inside a
//! digit is dark for long: who sees only when the LED turned on and off parts them at [`LEAD_AT_MS`] and [`GAP_AT_MS`].

/// Dark before the lead-in, so that it is parted from whatever shone before.
pub const LEAD_DARK_MS: u16 = 1_000;
/// The one long light, with which a code begins.
pub const LEAD_LIT_MS: u16 = 2_000;
/// Lit, in each blink.
pub const ON_MS: u16 = 250;
/// Dark, between two blinks of a digit.
pub const OFF_MS: u16 = 250;
/// Dark, after the lead-in and after each digit.
pub const GAP_MS: u16 = 1_000;
/// Lit for at least this long is the lead-in, for less is a blink.
pub const LEAD_AT_MS: u16 = 1_100;
/// Dark for at least this long ends a digit, for less is between two blinks.
pub const GAP_AT_MS: u16 = 600;
/// Blinks for the digit 0.
pub const ZERO: u8 = 10;

/// Blinks for a digit; digits above 9 do not exist, and are shown by their last one.
pub fn count(digit: u8) -> u8 {
    match digit % 10 {
        0 => ZERO,
        count => count,
    }
}
