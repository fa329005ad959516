"""The catalogue's entries hold together. What each of them means is tested in tests/domains/catalogue."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raydg.domains.catalogue import DATASETS, cityscapes, dataset
from raydg.domains.dataset import Dataset
from raydg.domains.label_table import IGNORED, LabelTable
from raydg.domains.labels import CITYSCAPES_19, IGNORE, SYNTHIA_13, SYNTHIA_16
from raydg.listing import describe, overview
from raydg.shards import prepare_domains

EDITIONS = [(entry, edition) for entry in DATASETS for edition in entry.editions]


@pytest.mark.parametrize(("entry", "edition"), EDITIONS, ids=lambda value: value.name)
def test_label_tables_are_total_and_stay_in_their_space(entry, edition):
    for table in edition.tables:
        assert table.space.task == entry.task
        if not isinstance(table, LabelTable):
            assert edition.class_names is not None
            continue
        assert len(table.lookup) in (256, 65_536)
        for raw_id, train_id in enumerate(table.lookup.tolist()):
            name = table.classes.get(raw_id)
            expected = -1 if name is None else IGNORE if name == IGNORED else table.space.classes.index(name)
            assert train_id == expected


@pytest.mark.parametrize(("entry", "edition"), EDITIONS, ids=lambda value: value.name)
def test_contracts_speak_of_what_there_is(entry, edition):
    if edition.contract is None:
        return
    assert edition.contract.edition and edition.contract.source
    for split in edition.contract.splits:
        assert split.domain in entry.domains and split.split in edition.layout.splits and split.samples > 0
    table = edition.tables[0]
    assert {band.name for band in edition.contract.bands} <= set(table.space.classes)
    if isinstance(table, LabelTable):
        assert set(edition.contract.occurring) <= set(table.classes)


def test_whoever_trains_finds_the_splits_that_training_asks_for():
    for entry, edition in EDITIONS:
        splits = set(edition.layout.splits)
        assert {"train", "val"} <= splits or len(splits) == 1, (entry.name, splits)


def test_domains_and_names_are_unique_and_found():
    names = [entry.name for entry in DATASETS]
    domains = [domain for entry in DATASETS for domain in entry.domains]
    assert len(set(names)) == len(names) and len(set(domains)) == len(domains)
    assert all(dataset(name).name == name for name in names)
    with pytest.raises(ValueError, match=r"'cityscape'.*cityscapes.*pacs"):
        dataset("cityscape")


def test_every_entry_says_its_terms_and_where_to_get_it():
    for entry in DATASETS:
        assert entry.licence and entry.source and entry.citation and entry.terms.of == entry.title


def test_each_of_the_19_classes_lies_in_one_coarse_class():
    coarse = {}
    fine = cityscapes.CITYSCAPES_TO_19.lookup
    for fine_id, coarse_id in zip(fine, cityscapes.CITYSCAPES_TO_IDD.lookup, strict=True):
        if 0 <= fine_id < 19:
            assert coarse.setdefault(int(fine_id), int(coarse_id)) == coarse_id != IGNORE
    assert len(coarse) == 19


def test_label_space_is_chosen_by_name():
    entry = dataset("cityscapes")
    assert entry.label_space() == CITYSCAPES_19 and entry.label_space("synthia16") == SYNTHIA_16
    assert entry.editions[0].table(entry.label_space("idd_level1")) is cityscapes.CITYSCAPES_TO_IDD
    assert entry.editions[0].table(SYNTHIA_13).space == SYNTHIA_13
    with pytest.raises(ValueError, match=r"'pacs7'.*cityscapes19, synthia16, synthia13, idd_level1"):
        entry.label_space("pacs7")
    with pytest.raises(ValueError, match=r"has no label table.*'cityscapes19'"):
        dataset("carla").editions[0].table(CITYSCAPES_19)


def test_entries_that_do_not_hold_together_are_refused():
    entry = dataset("pacs")
    with pytest.raises(ValueError, match="domains of pacs"):
        replace(entry, domains=("photo",))
    with pytest.raises(ValueError, match="editions of different names"):
        replace(entry, editions=entry.editions * 2)
    other = replace(dataset("carla").editions[0], name="other")
    with pytest.raises(ValueError, match="tables for the same label spaces"):
        replace(entry, editions=(*entry.editions, other))


def test_the_catalogue_is_printed(capsys):
    from rich.console import Console

    console = Console(width=200)
    console.print(overview(DATASETS))
    for entry in DATASETS:
        console.print(describe(entry))
    printed = capsys.readouterr().out
    narrow = Console(width=80)
    narrow.print(describe(dataset("gtav")))
    assert "…" not in capsys.readouterr().out, "an address that does not fit is folded, not cut"
    for entry in DATASETS:
        assert entry.name in printed and f"raydg prepare {entry.name} FOLDER" in printed
        assert all(domain in printed for domain in entry.domains)


# One's own

OWN = """
import numpy as np

from raydg.domains.dataset import Dataset, Edition
from raydg.domains.decoding import read_ids
from raydg.domains.label_table import IGNORED, LabelTable
from raydg.domains.labels import CITYSCAPES_19
from raydg.domains.layouts import SampleTable


def shifted(place):
    return read_ids(place) + np.uint8(1)


DATASET = Dataset(
    name="yard",
    title="Our yard",
    domains=("yard",),
    editions=(
        Edition(
            name="1",
            layout=SampleTable(),
            tables=(LabelTable(CITYSCAPES_19, {1: "road", 2: "sky", 3: IGNORED}),),
            read_label=shifted,
        ),
    ),
    licence="Ours.",
    commercial_use="yes",
    source="the yard",
    citation="us",
)
"""


def test_a_dataset_of_ones_own_is_a_python_file(tmp_path):
    (tmp_path / "yard.py").write_text(OWN)
    entry = dataset(str(tmp_path / "yard.py"))
    assert isinstance(entry, Dataset) and entry.label_space() == CITYSCAPES_19
    generator = np.random.default_rng(0)
    for name in ("a", "b"):
        Image.fromarray(generator.integers(0, 256, (4, 6, 3), dtype=np.uint8)).save(tmp_path / f"{name}.png")
        Image.fromarray(generator.integers(0, 3, (4, 6), dtype=np.uint8)).save(tmp_path / f"{name}_ids.png")
    (tmp_path / "samples.csv").write_text(
        "image,label,split,light\na.png,a_ids.png,train,day\nb.png,b_ids.png,val,dusk\n"
    )
    domain = prepare_domains(entry, ("yard",), tmp_path, tmp_path / "data", CITYSCAPES_19)[0].domain
    raw_ids = np.asarray(Image.open(tmp_path / "a_ids.png"))
    assert (domain.read("train", 0).label == np.array([0, 10, IGNORE])[raw_ids]).all()
    assert domain.attributes("val") == [{"light": "dusk"}]


def test_a_file_without_a_dataset_is_refused(tmp_path: Path):
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "text.py").write_text("DATASET = 'yard'")
    with pytest.raises(ValueError, match=r"empty\.py has no DATASET"):
        dataset(str(tmp_path / "empty.py"))
    with pytest.raises(ValueError, match=r"text\.py has a DATASET of type str"):
        dataset(str(tmp_path / "text.py"))
    with pytest.raises(ValueError, match=r"absent\.py is no file"):
        dataset(str(tmp_path / "absent.py"))
