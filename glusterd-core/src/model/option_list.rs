//! A volume's or the pool's options in the order users see: newest key first.
//!
//! A changed value keeps its place; a new key goes to the front; a removed and re-added key too.
//! Facts: libglusterfs/src/dict.c:411-490 (v10.3); "Options Reconfigured" of `volume info`.

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OptionList(Vec<(String, String)>);

impl OptionList {
    /// Pairs already in order, newest first.
    pub fn from_newest_first(pairs: Vec<(String, String)>) -> OptionList {
        OptionList(pairs)
    }

    pub fn value(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    pub fn contains(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        let (key, value) = (key.into(), value.into());
        match self.0.iter_mut().find(|(k, _)| *k == key) {
            Some(slot) => slot.1 = value,
            None => self.0.insert(0, (key, value)),
        }
    }

    /// Whether the key was there.
    pub fn remove(&mut self, key: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|(k, _)| k != key);
        self.0.len() != before
    }

    /// Newest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Stock's boolean reading (any case of 1 on yes true enable); `None` when absent or no boolean.
    pub fn flag(&self, key: &str) -> Option<bool> {
        self.value(key).and_then(boolean)
    }
}

/// Source: libglusterfs/src/common-utils.c `gf_string2boolean` (v10.3).
pub fn boolean(text: &str) -> Option<bool> {
    let is = |words: [&str; 5]| words.iter().any(|w| text.eq_ignore_ascii_case(w));
    if is(["1", "on", "yes", "true", "enable"]) {
        Some(true)
    } else if is(["0", "off", "no", "false", "disable"]) {
        Some(false)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_newest_first_and_values_stay_in_place() {
        let mut list = OptionList::default();
        list.set("a", "1");
        list.set("b", "2");
        list.set("a", "3");
        assert_eq!(list.iter().collect::<Vec<_>>(), [("b", "2"), ("a", "3")]);
        assert!(list.remove("a"));
        list.set("a", "4");
        assert_eq!(list.iter().next(), Some(("a", "4")));
    }

    #[test]
    fn booleans() {
        assert_eq!(boolean("ENABLE"), Some(true));
        assert_eq!(boolean("Off"), Some(false));
        assert_eq!(boolean("2"), None);
    }
}
