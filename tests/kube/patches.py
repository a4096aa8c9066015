"""Patches as an API server applies them: JSON merge, JSON patch, and the strategic merge for the lists that pleg and kubectl write.

What is not here: lists of other types than in MERGE_KEYS are replaced whole, and server-side apply does not exist.
"""

import copy

# Lists that a strategic merge joins by a key, by the path of field names; every other list is atomic, spec.taints of a node among them.
MERGE_KEYS = {
    ("status", "conditions"): "type",
    ("status", "addresses"): "type",
    ("metadata", "ownerReferences"): "uid",
    ("spec", "containers"): "name",
    ("spec", "volumes"): "name",
}
SETS = {("metadata", "finalizers"), ("spec", "podCIDRs")}


class BadPatch(Exception):
    """It cannot be read."""


class NoMergeKey(Exception):
    """An element of a keyed list has no key; the real server takes that for an error of its own."""


class DoesNotApply(Exception):
    """A JSON patch whose test fails, or whose path is not there."""


def merge(target, patch):
    """RFC 7396."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def _merge_keyed(old, patch, key, path):
    result = [dict(item) for item in old or []]
    for item in patch:
        if not isinstance(item, dict):
            raise BadPatch(f"an element of {'.'.join(path)} is not an object")
        if item.get("$patch") == "replace":
            return [i for i in copy.deepcopy(patch) if "$patch" not in i]
        if key not in item:
            text = " ".join(f"{k}:{v}" for k, v in sorted(item.items()))
            raise NoMergeKey(f"map: map[{text}] does not contain declared merge key: {key}")
        at = next((n for n, have in enumerate(result) if have.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            if at is not None:
                del result[at]
        elif at is None:
            result.append(strategic({}, item, path))
        else:
            result[at] = strategic(result[at], item, path)
    return _in_order(result, [i[key] for i in patch], [i.get(key) for i in old or []], key)


def _in_order(items, patched, before, key):
    """What is patched goes in front, in the order of the patch; what is not stays ahead of it only where it was ahead before."""
    kept = [i for i in items if i.get(key) not in patched]
    result = []
    for item in sorted((i for i in items if i.get(key) in patched), key=lambda i: patched.index(i[key])):
        while kept and item[key] in before and before.index(kept[0].get(key)) < before.index(item[key]):
            result.append(kept.pop(0))
        result.append(item)
    return result + kept


def strategic(target, patch, path=()):
    if not isinstance(patch, dict):
        raise BadPatch("cannot unmarshal a patch that is not an object")
    if patch.get("$patch") == "replace":
        return {k: copy.deepcopy(v) for k, v in patch.items() if k != "$patch"}
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        here = (*path, key)
        if key.startswith("$deleteFromPrimitiveList/"):
            name = key.split("/", 1)[1]
            result[name] = [v for v in result.get(name) or [] if v not in value]
        elif key.startswith("$setElementOrder/") or key in ("$patch", "$retainKeys"):
            continue
        elif value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            result[key] = strategic(result.get(key), value, here)
        elif isinstance(value, list) and here in MERGE_KEYS:
            result[key] = _merge_keyed(result.get(key), value, MERGE_KEYS[here], here)
        elif isinstance(value, list) and here in SETS:
            result[key] = list(dict.fromkeys([*(result.get(key) or []), *value]))
        else:
            result[key] = copy.deepcopy(value)
    return result


def json_patch(target, operations):
    """RFC 6902 without move and copy."""
    result = copy.deepcopy(target)
    if not isinstance(operations, list):
        raise BadPatch("error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp")
    for operation in operations:
        words = [w.replace("~1", "/").replace("~0", "~") for w in operation["path"].split("/")[1:]]
        place = result
        try:
            for word in words[:-1]:
                place = place[int(word)] if isinstance(place, list) else place[word]
            last = words[-1]
            if isinstance(place, list):
                last = len(place) if last == "-" else int(last)
            if operation["op"] == "test":
                if place[last] != operation.get("value"):
                    raise DoesNotApply
            elif operation["op"] == "remove":
                del place[last]
            elif operation["op"] in ("add", "replace"):
                if isinstance(place, list) and operation["op"] == "add":
                    place.insert(last, operation["value"])
                else:
                    place[last] = operation["value"]
            else:
                raise BadPatch(f"unexpected kind: {operation['op']}")
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise DoesNotApply from error
    return result


TYPES = {
    "application/merge-patch+json": merge,
    "application/strategic-merge-patch+json": strategic,
    "application/json-patch+json": json_patch,
}
