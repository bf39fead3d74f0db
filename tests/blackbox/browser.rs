//! The page in a real browser, as large as a phone: signing in, photos, a film, pairing, an invite. Its pictures stay in
//! `target/page`, for people to look at.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::harness::browser::Browser;
use crate::harness::web::is_relay;
use crate::harness::{Node, World, must, system, wait_until, write};
use crate::import::{OwnersDisk, told};

const LIMIT: Duration = Duration::from_secs(60);
const TEST: &str = "browser::a_phone_uses_the_page";

/// A photo as a camera writes it: its second image directory has a small JPEG.
fn photo(directory: &Path) -> (PathBuf, Vec<u8>) {
    let jpeg = |size: &str| {
        let path = directory.join(format!("{size}.jpg"));
        let source = format!("testsrc=size={size}");
        let path_text = path.to_string_lossy().into_owned();
        must(&["ffmpeg", "-v", "error", "-f", "lavfi", "-i", &source, "-frames:v", "1", "-q:v", "1", &path_text]);
        fs::read(path).expect("ffmpeg wrote it")
    };
    let (large, small) = (jpeg("2000x1500"), jpeg("160x120"));
    // Little-endian TIFF: a directory with the orientation alone, and one that tells where the small picture is.
    let mut tiff = b"II*\0\x08\0\0\0".to_vec();
    let entry = |tag: u16, kind: u16, value: u32| {
        [&tag.to_le_bytes()[..], &kind.to_le_bytes(), &1u32.to_le_bytes(), &value.to_le_bytes()].concat()
    };
    tiff.extend([&1u16.to_le_bytes()[..], &entry(0x112, 3, 1), &26u32.to_le_bytes()].concat());
    let small_length = small.len() as u32;
    let second = [entry(0x201, 4, 56), entry(0x202, 4, small_length)].concat();
    tiff.extend([&2u16.to_le_bytes()[..], &second, &0u32.to_le_bytes()].concat());
    assert_eq!(tiff.len(), 56);
    tiff.extend(small);
    let length = (2 + 6 + tiff.len()) as u16;
    let segment = [&b"\xff\xe1"[..], &length.to_be_bytes(), b"Exif\0\0", &tiff].concat();
    let whole = [&large[..2], &segment, &large[2..]].concat();
    let path = directory.join("beach.jpg");
    fs::write(&path, &whole).expect("it is written");
    (path, whole)
}

/// Signs in at the page of `node`, which is called A.
pub fn sign_in(browser: &Browser, node: &Node) {
    browser.open(&format!("http://{}/", node.address()));
    browser.shoot("1-sign-in");
    browser.click("#go");
    wait_until("the LED has shown the code", LIMIT, || node.json(&["status"])["sign_in"]["shown"] == true);
    let code = browser.text("#code");
    let asked = node.json(&["status"])["sign_in"]["code"].to_string();
    assert_eq!(code, asked, "the page and the LED");
    browser.shoot("2-code");
    node.ok(&["press"]);
    browser.wait("document.title === 'A' && document.querySelector('#list b')");
}

#[test]
fn a_phone_uses_the_page() {
    if is_relay() {
        return;
    }
    let Some(world) = World::new("a_phone_uses_the_page") else { return };
    if system(&["ffmpeg", "-version"]).is_err() || system(&["zbarimg", "--version"]).is_err() {
        println!("SKIPPED {TEST}: there is no ffmpeg, or no zbarimg");
        return;
    }
    let (mut a, b, c) = (world.node("A"), world.started("B"), world.started("C"));
    a.start_with(&["--page", "0.0.0.0:80", "--fetch", "ondemand"]);
    let Some(browser) = Browser::new(&b, TEST) else { return };
    a.join(&b.invite("keeper"));
    wait_until("they are connected", LIMIT, || a.circle()["online"] == 1);
    sign_in(&browser, &a);
    browser.shoot("3-circles");

    // A photo goes up, is seen small, and comes down as it was.
    browser.run("location.hash = '#files/Friends'");
    browser.wait("document.querySelector('#list .empty')");
    let (path, bytes) = photo(world.path());
    browser.give("#pick", &path.to_string_lossy());
    browser.wait("/100 %, stored/.test(document.querySelector('#uploads').textContent)");
    assert_eq!(browser.run("var bar = document.querySelector('#uploads progress'); return bar.value / bar.max"), 1);
    wait_until("the friend has it", LIMIT, || fs::read(b.friends("beach.jpg")).is_ok_and(|read| read == bytes));
    browser.wait("document.querySelector('#list .kind img') && document.querySelector('#list .kind img').complete");
    assert_eq!(browser.run("return document.querySelector('#list .kind img').naturalWidth"), 160, "its own preview");
    browser.shoot("4-photo");
    browser.click("#list .dots");
    browser.click("#list .acts a");
    let saved = browser.saved.join("beach.jpg");
    wait_until("it is saved", LIMIT, || fs::read(&saved).is_ok_and(|read| read == bytes));

    // Deleted, taken back, and deleted.
    browser.click("#list .acts .danger");
    browser.wait("document.querySelector('#list .empty') && !document.querySelector('#undo').hidden");
    browser.shoot("5-undo");
    browser.click("#undo-button");
    browser.wait("document.querySelector('#list b')");
    assert!(fs::read(b.friends("beach.jpg")).is_ok_and(|read| read == bytes));
    browser.click("#list .dots");
    browser.click("#list .acts .danger");
    wait_until("it is gone from the friend's", LIMIT, || !b.friends("beach.jpg").exists());

    // What is deleted for everybody is put back all the same, and goes again.
    browser.click("#deleted");
    browser.wait("/beach.jpg/.test(document.querySelector('#older-list').textContent)");
    browser.shoot("5-deleted");
    browser.click("#older-list button");
    wait_until("the friend has it again", LIMIT, || fs::read(b.friends("beach.jpg")).is_ok_and(|read| read == bytes));
    browser.wait("/Nothing was deleted/.test(document.querySelector('#older-words').textContent)");
    browser.click("#older-close");
    browser.wait("document.querySelector('#list b') && document.querySelector('#older').hidden");
    browser.click("#list .dots");
    browser.click("#list .acts .danger");
    wait_until("it is gone from the friend's", LIMIT, || !b.friends("beach.jpg").exists());

    // A film plays while it is fetched, and from where one wants.
    let film = world.path().join("film.webm");
    let film_text = film.to_string_lossy().into_owned();
    let source = "testsrc2=duration=30:size=640x480:rate=15";
    must(&[
        "ffmpeg",
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        source,
        "-c:v",
        "libvpx",
        "-deadline",
        "realtime",
        "-cpu-used",
        "8",
        "-b:v",
        "4M",
        "-g",
        "30",
        &film_text,
    ]);
    write(&b.friends("film.webm"), &fs::read(&film).expect("ffmpeg wrote it"));
    wait_until("A knows of the film", LIMIT, || a.friends("film.webm").exists());
    browser.run("location.hash = '#files'");
    browser.run("location.hash = '#files/Friends'");
    browser.wait("/film/.test(document.querySelector('#list').textContent)");
    browser.click("#list .open");
    browser.wait("document.querySelector('#stage video') && document.querySelector('#stage video').readyState >= 2");
    browser.shoot("6-film");
    browser.run("document.querySelector('#stage video').currentTime = 25");
    browser.wait(
        "!document.querySelector('#stage video').seeking && document.querySelector('#stage video').readyState >= 2",
    );
    assert_eq!(browser.run("return Math.floor(document.querySelector('#stage video').currentTime)"), 25);
    browser.shoot("7-film-from-25-s");
    browser.click("#close");

    // An invite, to be read off the screen.
    browser.run("location.hash = '#friends'");
    browser.wait("!document.querySelector('#friends').hidden");
    browser.click("#invite");
    browser.wait("!document.querySelector('#invited').hidden");
    let invite = browser.run("return document.querySelector('#invite-text').value");
    browser.run("document.querySelector('#invite-qr').scrollIntoView()");
    let picture = browser.shoot("8-invite").to_string_lossy().into_owned();
    assert_eq!(must(&["zbarimg", "-q", "--raw", &picture]).trim(), invite, "what a camera reads");

    // Pairing shows its code here as well.
    a.ok(&["press"]);
    c.ok(&["press"]);
    browser.wait("/^[0-9]{4}$/.test(document.querySelector('#pairing-code').textContent)");
    assert_eq!(browser.text("#pairing-code"), c.json(&["status"])["pairing"]["code"].as_str().expect("a code"));
    browser.shoot("9-pairing");
    browser.run("location.hash = '#box'");
    browser.wait("document.querySelector('#facts dd')");
    browser.shoot("10-box");
}

#[test]
fn a_phone_imports_an_owners_disk() {
    let test = "browser::a_phone_imports_an_owners_disk";
    if is_relay() {
        return;
    }
    let Some(world) = World::new("a_phone_imports_an_owners_disk") else { return };
    let Some(disk) = OwnersDisk::new(&world, test) else { return };
    let (mut a, b) = (world.node("A"), world.started("B"));
    a.start_with(&["--page", "0.0.0.0:80", "--disks", &disk.disks().to_string_lossy()]);
    let Some(browser) = Browser::new(&b, test) else { return };
    a.join(&b.invite("member"));
    sign_in(&browser, &a);
    browser.run("location.hash = '#box'");
    browser.wait(
        "!document.querySelector('#disks-card').hidden && document.querySelectorAll('#disks button').length === 2",
    );
    let top = browser.run("return document.querySelector('#disks-card').getBoundingClientRect().top");
    assert!((0.0..200.0).contains(&top.as_f64().expect("a number")), "what it asks stands on top, and is seen: {top}");
    browser.shoot("11-disk");
    browser.click("#disks button");
    browser.wait("/Imported to/.test(document.querySelector('#disks').textContent)");
    browser.wait("document.querySelectorAll('#disks button').length === 1");
    browser.shoot("12-disk-imported");
    assert_eq!(told(&a.mount().join("Home/Photos 2019")), told(&disk.at));
}
