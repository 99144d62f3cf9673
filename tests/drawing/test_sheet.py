"""Several pictures as one: it stands alone, and each part keeps its words."""

from xml.etree import ElementTree

from drawing import lines, sheet

SVG = "{http://www.w3.org/2000/svg}"


def panel(name):
    return lines({"a": [(0, 1), (1, 2)]}, title=name, desc=f"What {name} shows.", width=150, height=120)


def test_parts_stand_in_rows_inside_the_sheet_and_none_covers_another():
    root = ElementTree.fromstring(sheet([panel(f"p{i}") for i in range(5)], columns=2, title="All", desc="All of it."))
    parts = root.findall(f"{SVG}svg")
    places = [(float(part.attrib["x"]), float(part.attrib["y"])) for part in parts]
    assert len(set(places)) == 5 and [y for _, y in places] == sorted(y for _, y in places)
    assert places[1][0] - places[0][0] >= 150 and places[2][1] - places[0][1] >= 120
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    assert all(x + 150 <= width and y + 120 <= height for x, y in places)


def test_it_has_one_style_and_the_words_of_every_part():
    picture = sheet([panel("first"), panel("second")], columns=2, title="Both & more", desc="Two panels.")
    root = ElementTree.fromstring(picture)
    assert picture.count("<style>") == 1
    words = [element.text for element in root.iter(f"{SVG}desc")]
    assert words == ["Two panels.", "What first shows.", "What second shows."]
    ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    assert len(ids) == len(set(ids))
