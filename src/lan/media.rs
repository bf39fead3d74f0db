//! What kind of file a name promises, and whether a browser may show it: what could run is only ever downloaded.

/// The `Content-Type`, and true when a browser may show it in its place.
pub fn media_type(name: &[u8]) -> (&'static str, bool) {
    let extension = name.iter().rposition(|byte| *byte == b'.').map_or(&[][..], |at| &name[at + 1..]);
    let known = SHOWN.iter().find(|(ending, _)| ending.as_bytes().eq_ignore_ascii_case(extension));
    if let Some((_, media)) = known {
        return (media, true);
    }
    let known = DOWNLOADED.iter().find(|(ending, _)| ending.as_bytes().eq_ignore_ascii_case(extension));
    (known.map_or("application/octet-stream", |(_, media)| media), false)
}

/// The `Content-Disposition` (RFC 6266): the name as ASCII, and as it is (RFC 8187).
pub fn disposition(name: &[u8], shown: bool) -> String {
    let plain: String = String::from_utf8_lossy(name)
        .chars()
        .map(|character| match character {
            ' '..='~' if !matches!(character, '"' | '\\' | '%') => character,
            _ => '_',
        })
        .collect();
    let kind = if shown { "inline" } else { "attachment" };
    let whole = super::path::encode(String::from_utf8_lossy(name).as_bytes());
    format!("{kind}; filename=\"{plain}\"; filename*=UTF-8''{whole}")
}

const SHOWN: [(&str, &str); 20] = [
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("png", "image/png"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("avif", "image/avif"),
    ("heic", "image/heic"),
    ("bmp", "image/bmp"),
    ("mp4", "video/mp4"),
    ("m4v", "video/mp4"),
    ("webm", "video/webm"),
    ("mov", "video/quicktime"),
    ("mp3", "audio/mpeg"),
    ("m4a", "audio/mp4"),
    ("ogg", "audio/ogg"),
    ("opus", "audio/ogg"),
    ("flac", "audio/flac"),
    ("wav", "audio/wav"),
    ("txt", "text/plain; charset=utf-8"),
    ("md", "text/plain; charset=utf-8"),
];
const DOWNLOADED: [(&str, &str); 4] = [
    ("pdf", "application/pdf"),
    ("zip", "application/zip"),
    ("gz", "application/gzip"),
    // Shown, they could run scripts as this page: they are handed out as bytes.
    ("svg", "application/octet-stream"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_shown_and_programs_are_not() {
        assert_eq!(media_type(b"IMG_1.JPG"), ("image/jpeg", true));
        assert_eq!(media_type(b"a.b.png"), ("image/png", true));
        assert_eq!(media_type(b"notes.txt"), ("text/plain; charset=utf-8", true));
        for name in
            [&b"page.html"[..], b"x.svg", b"x.SVG", b"x.htm", b"x.xhtml", b"x.js", b"jpg", b"", b".", b"x.", b"\xff"]
        {
            assert_eq!(media_type(name), ("application/octet-stream", false), "{name:?}");
        }
        assert_eq!(media_type(b"x.pdf"), ("application/pdf", false));
    }

    #[test]
    fn no_name_breaks_out_of_the_header() {
        assert_eq!(disposition(b"a.jpg", true), "inline; filename=\"a.jpg\"; filename*=UTF-8''a.jpg");
        assert_eq!(
            disposition("\"a\\\r\nX: 1; ä%41".as_bytes(), false),
            "attachment; filename=\"_a___X: 1; __41\"; filename*=UTF-8''%22a%5C%0D%0AX%3A%201%3B%20%C3%A4%2541"
        );
        assert_eq!(disposition(b"\xff", false), "attachment; filename=\"_\"; filename*=UTF-8''%EF%BF%BD");
    }
}
