//! `enigo`'s keys for keysyms, which are what the project names keys by everywhere.

use enigo::Key;
use xkeysym::Keysym;

use llm_os_core::Fault;

/// The key of a keysym.
///
/// # Errors
///
/// `unavailable` where this platform has no such key.
pub(super) fn key(keysym: u32) -> Result<Key, Fault> {
    platform(Keysym::new(keysym)).ok_or_else(|| {
        let name = Keysym::new(keysym).name().map_or_else(String::new, |name| format!(" {}", &name[3..]));
        super::unavailable(format!("this platform has no key{name}"))
    })
}

fn platform(keysym: Keysym) -> Option<Key> {
    named(keysym).or_else(|| {
        let character = keysym.key_char().filter(|character| !character.is_control());
        character.map(Key::Unicode)
    })
}

/// The keys that every platform has and that type no character.
fn named(keysym: Keysym) -> Option<Key> {
    Some(match keysym {
        Keysym::Return | Keysym::KP_Enter => Key::Return,
        Keysym::Tab => Key::Tab,
        Keysym::Escape => Key::Escape,
        Keysym::BackSpace => Key::Backspace,
        Keysym::Delete => Key::Delete,
        #[cfg(target_os = "windows")]
        Keysym::Insert => Key::Insert,
        Keysym::Home => Key::Home,
        Keysym::End => Key::End,
        Keysym::Prior => Key::PageUp,
        Keysym::Next => Key::PageDown,
        Keysym::Left => Key::LeftArrow,
        Keysym::Right => Key::RightArrow,
        Keysym::Up => Key::UpArrow,
        Keysym::Down => Key::DownArrow,
        Keysym::space => Key::Space,
        Keysym::Caps_Lock => Key::CapsLock,
        Keysym::Shift_L => Key::LShift,
        Keysym::Shift_R => Key::RShift,
        Keysym::Control_L => Key::LControl,
        Keysym::Control_R => Key::RControl,
        Keysym::Alt_L | Keysym::Alt_R => Key::Alt,
        Keysym::Super_L | Keysym::Super_R | Keysym::Meta_L | Keysym::Meta_R => Key::Meta,
        Keysym::F1 => Key::F1,
        Keysym::F2 => Key::F2,
        Keysym::F3 => Key::F3,
        Keysym::F4 => Key::F4,
        Keysym::F5 => Key::F5,
        Keysym::F6 => Key::F6,
        Keysym::F7 => Key::F7,
        Keysym::F8 => Key::F8,
        Keysym::F9 => Key::F9,
        Keysym::F10 => Key::F10,
        Keysym::F11 => Key::F11,
        Keysym::F12 => Key::F12,
        _ => return None,
    })
}
