//! What each caller saw last of each display. In memory only: after a restart nobody has seen anything.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use llm_os_core::Principal;
use llm_os_core::evidence::Picture;

/// So many pictures are remembered of one user, whose sessions name themselves; the oldest goes first.
const OF_USER: usize = 64;

/// The last pictures of all callers.
#[derive(Default)]
pub(super) struct Pictures(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    pictures: HashMap<(Principal, String), (u64, Picture)>,
    next: u64,
}

impl Pictures {
    pub(super) fn saw(&self, caller: &Principal, display: &str, picture: Option<Picture>) {
        let mut seen = self.seen_by_all();
        let key = (caller.clone(), display.to_owned());
        let Some(picture) = picture else {
            seen.pictures.remove(&key);
            return;
        };
        let number = seen.next;
        seen.next += 1;
        seen.pictures.insert(key, (number, picture));
        let of_user = seen.pictures.iter().filter(|((other, _), _)| other.uid == caller.uid);
        if of_user.clone().count() > OF_USER
            && let Some(oldest) = of_user.min_by_key(|(_, (number, _))| *number).map(|(key, _)| key.clone())
        {
            seen.pictures.remove(&oldest);
        }
    }

    pub(super) fn seen(&self, caller: &Principal, display: &str) -> Option<Picture> {
        let key = (caller.clone(), display.to_owned());
        self.seen_by_all().pictures.get(&key).map(|(_, picture)| picture.clone())
    }

    fn seen_by_all(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use llm_os_core::View;
    use llm_os_core::audit::Evidence;
    use llm_os_core::name::Id;

    use super::*;

    fn picture(name: &str) -> Picture {
        let (name, sha256) = (name.to_owned(), String::new());
        let evidence = Evidence { name, media_type: String::new(), bytes: 0, sha256, point: None };
        Picture { evidence, view: View { size: [1; 2], corner: [0; 2], extent: [1; 2] } }
    }

    fn session(uid: u32, number: usize) -> Principal {
        Principal { uid, session: Id::new(&format!("s-{number}")) }
    }

    #[test]
    fn a_user_with_many_sessions_forgets_its_oldest_pictures_and_nobody_elses() {
        let pictures = Pictures::default();
        let other = session(2, 0);
        pictures.saw(&other, "virtual", Some(picture("other")));
        for number in 0..OF_USER + 2 {
            pictures.saw(&session(1, number), "virtual", Some(picture(&number.to_string())));
        }
        assert_eq!(pictures.seen(&session(1, 1), "virtual"), None);
        assert_eq!(pictures.seen(&session(1, 2), "virtual"), Some(picture("2")));
        assert_eq!(pictures.seen(&other, "virtual"), Some(picture("other")));
    }

    #[test]
    fn a_picture_that_could_not_be_kept_is_not_replaced_by_the_one_before_it() {
        let pictures = Pictures::default();
        pictures.saw(&session(1, 1), ":0", Some(picture("first")));
        assert_eq!(pictures.seen(&session(1, 1), ":1"), None);
        assert_eq!(pictures.seen(&session(2, 1), ":0"), None);
        pictures.saw(&session(1, 1), ":0", None);
        assert_eq!(pictures.seen(&session(1, 1), ":0"), None);
    }
}
