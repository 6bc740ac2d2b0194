"""What the dataset card says about sources, splits, reasons and limits."""

SOURCES = {
    "simulated": "drawn by a program",
    "gbif": "published through GBIF",
    "folder": "given by whoever ran the workflow",
}
USE_OF_SPLIT = {
    "train": "fits generator and classifiers",
    "validation": "picks the best step of a classifier; never reported",
    "test": "sealed; scored once a classifier",
    "reserve": "seen by no generator and no compared classifier: for judges and for comparisons of real with real",
    "unused": "left over; in no split",
}
UNITS = {
    "event": "pictures of one species by one observer on one day",
    "observer": "all pictures by one observer",
    "occurrence": "pictures of one occurrence",
    "time": "pictures of one species by one observer on one day, and test is what was seen from {cut} on",
    "spatial": "pictures of one species by one observer on one day, and all pictures from one square of {block_km:g} km",
    "official": "whatever is tied to one of the test pictures of the dataset's own split",
}
REASONS = {
    "not_found": "there is no file",
    "no_address": "the record names no file",
    "no_path": "the table names no file",
    "bad_address": "the address is none",
    "private_address": "the address leads into a private network",
    "too_many_redirects": "the address leads on and on",
    "timeout": "the host did not answer in time",
    "connection": "the host could not be reached",
    "robots_noai": "the host does not want its pictures used for this",
    "outside_folder": "the path leads out of the dataset",
    "unreadable": "the file could not be opened",
    "empty_file": "the file is empty",
    "not_an_image": "the file is no picture",
    "broken_image": "the file breaks off",
    "too_large": "more bytes than are accepted",
    "too_many_pixels": "more pixels than are accepted",
    "not_a_still_image": "sound, film or page",
    "not_in_life": "no living organism, or a citation",
    "doubtful_name": "GBIF doubts how the name was matched",
    "other_species": "identified as another species",
    "other_country": "from a country that was not asked for",
    "other_year": "from a year that was not asked for",
    "other_basis_of_record": "a kind of record that was not asked for",
    "licence_missing": "no licence at the picture",
    "licence_unknown": "a licence that could not be understood",
    "licence_not_allowed": "a licence that was not asked for",
    "observer_has_enough": "more pictures by one observer than were asked for",
    "two_species": "listed under two species: nobody can say which is right",
    "undecodable": "the file cannot be decoded to its end",
    "too_small": "the shorter side is below the limit",
    "too_long": "the sides are too unequal",
    "blank": "nothing to see",
    "duplicate": "another copy of a picture that was kept",
    "duplicate_of_two_species": "one picture under two species: nobody can say which is right",
    "over_observer_cap": "more pictures by one observer than are kept",
    "over_cap": "more pictures of the species than are kept",
}
"""First reason against a picture -> what it means. Codes that name an HTTP status explain themselves."""

CHECKLISTS = {
    "col_xr": "the Catalogue of Life XR, as GBIF serves it",
    "gbif_backbone": "the GBIF Backbone of August 2023",
    "archive": "a checklist archive",
    "snapshot": "a table of names",
    "list": "the species list itself",
}
"""First part of a taxonID -> who said so."""

LIMITS = {
    "simulated": [
        "**Nothing here is a picture of the real species.** Traits were drawn along the taxonomy; the names only say where "
        "in the tree a drawing stands. A result on them says nothing about recognising the species in the field.",
        "Observers, days, places and licences are invented with the pictures, so that every step has work to do.",
    ],
    "gbif": [
        "Identifications are those of the publishers; nobody looked at the pictures again.",
        "Pictures come from where and when people went, and from those who publish under open licences.",
        "Ties between pictures are known only as far as the records tell them: an unnamed observer ties nothing.",
        "Coordinates of sensitive species may have been blurred by their publishers.",
    ],
    "folder": [
        "Names, observers, days and licences are those of the table or dataset that the pictures came with.",
        "Where no observer is given, two pictures of one individual may lie in two splits.",
    ],
}
_ALLOW = (
    "Licences that may be published are listed in `collection.publish`; add the id of another one only if its terms let "
    "you pass the pictures on."
)
REMEDY = {
    "simulated": _ALLOW,
    "gbif": _ALLOW,
    "folder": "Whoever owns a picture says under which licence it may be passed on. Write that into column `license` of the "
    f"table that `collection.folder.table` names, for instance CC-BY-4.0, and run again. {_ALLOW}",
}
"""Source -> what to do where no picture may be published."""

HUB_LICENCES = frozenset({
    "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0",
    "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0",
    "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0",
})  # fmt: skip
"""Licence names that the Hugging Face hub knows; every other one is its `other`."""
