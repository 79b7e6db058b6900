//! What a lineage says of the images that a model was made with.

use std::collections::BTreeMap;

use rift_models::artifact::{Digest, Lineage};

/// The roles in which images stand in a lineage, and what they were for.
const ROLES: [(&str, &str); 5] = [
    ("data", "training images"),
    ("extra data", "further training images"),
    ("validation", "validation images"),
    ("calibration", "images that quantisation was calibrated by"),
    ("exam", "images that the quantised model was measured on"),
];

/// What the images in the role `role` were for; `None` where it is no role of images.
pub(super) fn purpose(role: &str) -> Option<&'static str> {
    ROLES.iter().find(|(name, _)| *name == role).map(|(_, purpose)| *purpose)
}

/// All images in `lineage` and what it comes from, with what they were for.
pub(super) fn images(lineage: &Lineage) -> BTreeMap<Digest, &'static str> {
    let mut images: BTreeMap<Digest, &'static str> =
        lineage.ancestors.values().flat_map(images).collect();
    for (role, digest) in &lineage.parents {
        images.extend(purpose(role).map(|purpose| (digest.clone(), purpose)));
    }
    images
}

/// The name of the data set: the last part of the path that the nearest training was given.
pub(super) fn data_name(lineage: &Lineage) -> Option<&str> {
    let path = lineage.settings.get("data").and_then(serde_json::Value::as_str);
    let name = path.and_then(|path| path.trim_end_matches('/').rsplit('/').next());
    name.filter(|name| !name.is_empty()).or_else(|| lineage.ancestors.values().find_map(data_name))
}

/// The digest of the images that the nearest stage which says so measured on.
pub(super) fn measured_on(lineage: &Lineage) -> Option<&Digest> {
    ["exam", "validation"]
        .iter()
        .find_map(|role| lineage.parents.get(*role))
        .or_else(|| lineage.ancestors.values().find_map(measured_on))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn images_are_found_however_far_back() {
        let digest = |text: &str| Digest::of_bytes(text.as_bytes());
        let train = Lineage {
            parents: BTreeMap::from([("data".to_owned(), digest("train"))]),
            settings: json!({ "data": "data/fashion-mnist/" }),
            ..Lineage::default()
        };
        let sweep = Lineage {
            parents: BTreeMap::from([
                ("from".to_owned(), digest("weights")),
                ("validation".to_owned(), digest("validation")),
            ]),
            ancestors: BTreeMap::from([("from".to_owned(), train)]),
            ..Lineage::default()
        };
        assert_eq!(data_name(&sweep), Some("fashion-mnist"));
        assert_eq!(measured_on(&sweep), Some(&digest("validation")));
        let expected = [(digest("train"), ROLES[0].1), (digest("validation"), ROLES[2].1)];
        assert_eq!(images(&sweep), BTreeMap::from(expected));
        assert!(images(&Lineage::default()).is_empty() && data_name(&Lineage::default()).is_none());
    }
}
