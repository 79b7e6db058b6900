//! Whether a network and images mean the same classes.

/// Classes that are not those of a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClassesError {
    /// Another number of them.
    #[error("expected {expected} classes, found {found}")]
    Count {
        /// How many the network tells apart.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// Another name or another order.
    #[error("class {class} is `{found}`, expected `{expected}`")]
    Name {
        /// The first class that differs.
        class: usize,
        /// Its name to the network.
        expected: String,
        /// Its name there.
        found: String,
    },
}

/// Checks that labels of the classes `found` mean what they do to a network of the classes `known`.
///
/// Names must agree in their order, for all but capitals and what is neither letter nor digit. Where
/// one list is `0`, `1`, …, which stands for no names, any will do. Identifiers such as `n01443537`,
/// which name Tiny-ImageNet's folders, are not held against words.
///
/// # Errors
/// If the number of classes differs, or a name.
///
/// ```
/// use rift_models::dataset::check_classes;
///
/// let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
/// let known = names(&["cat", "T-shirt/top", "fox"]);
/// assert!(check_classes(&known, &names(&["cat", "T - shirt / top", "fox"])).is_ok());
/// assert!(check_classes(&known, &names(&["0", "1", "2"])).is_ok());
/// let error = check_classes(&known, &names(&["cat", "fox", "T-shirt/top"])).unwrap_err();
/// assert_eq!(error.to_string(), "class 1 is `fox`, expected `T-shirt/top`");
/// ```
pub fn check_classes(known: &[String], found: &[String]) -> Result<(), ClassesError> {
    if found.len() != known.len() {
        return Err(ClassesError::Count { expected: known.len(), found: found.len() });
    }
    let unnamed = is_numbered(found) || is_numbered(known);
    if unnamed && !(are_numbers(found) && are_numbers(known))
        || are_identifiers(known) != are_identifiers(found)
    {
        return Ok(());
    }
    let differs = known.iter().zip(found).position(|(known, found)| !same(known, found));
    differs.map_or(Ok(()), |class| {
        let (expected, found) = (known[class].clone(), found[class].clone());
        Err(ClassesError::Name { class, expected, found })
    })
}

/// Whether the names are `0`, `1`, … or `00000`, `00001`, …, which is what classes without names are
/// called.
fn is_numbered(names: &[String]) -> bool {
    names.iter().enumerate().all(|(class, name)| number(name) == Some(class))
}

/// The number that a name is.
fn number(name: &str) -> Option<usize> {
    name.parse().ok().filter(|_| name.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether all names are numbers, in whatever order: `0`, `1`, `10`, `2` is how folders are sorted.
fn are_numbers(names: &[String]) -> bool {
    names.iter().all(|name| number(name).is_some())
}

/// Whether all are identifiers of nouns, such as `n01443537`.
fn are_identifiers(names: &[String]) -> bool {
    names.iter().all(|name| {
        let digits = name.strip_prefix('n').unwrap_or_default();
        digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit())
    })
}

/// Whether two names are one, as publishers write it.
fn same(a: &str, b: &str) -> bool {
    let letters = |name: &str| -> String {
        let kept = name.chars().filter(|c| c.is_alphanumeric());
        kept.flat_map(char::to_lowercase).collect()
    };
    if let (Some(a), Some(b)) = (number(a), number(b)) {
        return a == b;
    }
    let (plain_a, plain_b) = (letters(a), letters(b));
    // Names of signs alone, such as `+` and `-`, are told apart by them.
    a == b || (!plain_a.is_empty() && plain_a == plain_b)
}

#[cfg(test)]
mod tests {
    use super::super::class_names::{numbered, owned};
    use super::*;

    #[test]
    fn numbers_stand_for_any_names() {
        let names = owned(&["cat", "dog", "fox"]);
        for known in [&names, &numbered(3)] {
            check_classes(known, &numbered(3)).unwrap();
        }
        check_classes(&numbered(3), &names).unwrap();
        for (known, found) in [
            (&names, numbered(4)),
            (&names, numbered(2)),
            (&numbered(2), numbered(3)),
            (&numbered(4), names.clone()),
            (&names, owned(&["cat", "dog"])),
        ] {
            let (expected, count) = (known.len(), found.len());
            let error = check_classes(known, &found).unwrap_err();
            assert_eq!(error, ClassesError::Count { expected, found: count });
        }
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        let padded = owned(&["00000", "00001", "00002"]);
        for known in [&padded, &numbered(3), &owned(&["cat", "dog", "fox"])] {
            check_classes(known, &padded).unwrap();
        }
        let sorted = owned(&["0", "1", "10", "2", "3", "4", "5", "6", "7", "8", "9"]);
        let error = check_classes(&numbered(11), &sorted).unwrap_err();
        assert!(matches!(error, ClassesError::Name { class: 2, .. }), "{error:?}");
        check_classes(&sorted, &sorted).unwrap();
    }

    #[test]
    fn the_first_name_that_differs_is_given() {
        let known = owned(&["airplane", "aquarium_fish", "T-shirt/top"]);
        check_classes(&known, &owned(&["Airplane", "aquarium fish", "T - shirt / top"])).unwrap();
        let error = check_classes(&known, &owned(&["airplane", "T-shirt/top", "aquarium_fish"]));
        assert!(matches!(error, Err(ClassesError::Name { class: 1, .. })), "{error:?}");
        let signs = check_classes(&owned(&["+", "-"]), &owned(&["-", "+"]));
        assert!(matches!(signs, Err(ClassesError::Name { class: 0, .. })), "{signs:?}");
    }

    #[test]
    fn identifiers_are_compared_with_identifiers() {
        let identifiers = owned(&["n01443537", "n01629819"]);
        check_classes(&owned(&["goldfish", "salamander"]), &identifiers).unwrap();
        check_classes(&identifiers, &owned(&["goldfish", "salamander"])).unwrap();
        let turned: Vec<String> = identifiers.iter().rev().cloned().collect();
        assert!(check_classes(&identifiers, &turned).is_err());
    }
}
