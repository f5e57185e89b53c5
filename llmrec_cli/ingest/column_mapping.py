"""The settings that describe the raw files: [clean.interactions], [clean.items] and [clean.users]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from llmrec_cli.core.errors import DataError, did_you_mean
from llmrec_cli.ingest.raw_files import Input

Column = str | int
"""A column by its name, or by its number from 0."""
Columns = Column | list[Column]


class FileConfig(BaseModel, frozen=True, extra="forbid"):
    """How to read one kind of raw file; what is not given is found by looking at the file."""

    path: str | list[str] | None = Field(None, description='a file, a list, a glob, or "a.zip#member"')
    format: Literal["auto", "csv", "json", "parquet"] = Field("auto", description="csv stands for all separated text")
    separator: str = Field(
        "", max_length=4, pattern='^[^"\r\n]*$', description="between columns; empty is found out; no quote or line end"
    )
    header: bool | None = Field(None, description="whether the first line has the names; not given is found out")
    encoding: str = Field("auto", description="utf-8, latin-1, …; auto tries utf-8 first")
    quoting: bool | None = Field(None, description='whether "…" encloses a value; not given is found out')
    columns: list[str] = Field([], description="names of the columns, for files without a header")


class InteractionsConfig(FileConfig, frozen=True, extra="forbid"):
    layout: Literal["rows", "sequences"] = Field("rows", description='rows, or lines "user item item …", oldest first')
    user: Column | None = Field(None, description="column of the user: its name, or its number from 0")
    item: Column | None = Field(None, description="column of the item")
    time: Column | None = Field(
        None, description="column of the time; without it the order of rows is the order in time"
    )
    time_format: str = Field("", description="strptime format; empty takes ISO dates and Unix s, ms, us")
    value: Column | None = Field(None, description="column of a rating, a quantity, a dwell time, …")
    decimal: Literal[".", ","] = Field(".", description="in the value: 3.5, or 3,5 and 1.234,5")
    event: Column | None = Field(None, description="column of the kind of event: click, cart, buy, …")
    review: Column | None = Field(None, description="column of what the user wrote of the item")
    where: str = Field("", description="SQL condition on the columns that a row must meet")

    @field_validator("where")
    @classmethod
    def _is_one_expression(cls, where: str) -> str:
        """SettingsError for a filter that is invalid for every log; its columns are checked when the log is read."""
        if where:
            from llmrec_cli.ingest import engine_filter  # loads the engine

            engine_filter.check(where)
        return where

    @model_validator(mode="after")
    def _is_whole(self) -> InteractionsConfig:
        if not self.path:
            raise ValueError("needs `path`, the file of the log")
        if self.layout == "rows" and (self.user is None or self.item is None):
            raise ValueError('needs the columns `user` and `item` (or layout = "sequences")')
        return self


class ItemsConfig(FileConfig, frozen=True, extra="forbid"):
    item: Column | None = Field(None, description="column of the item; needed when path is given")
    title: Column | None = Field(None, description="column of the title")
    text: Columns = Field([], description="columns of longer text")
    category: Columns = Field([], description="column of the category, or columns of its levels from the top")
    category_separator: str = Field("", description="between the levels in one column")
    tags: Columns = Field([], description="column of tags, or columns; one with only 0 and 1 gives its name")
    tags_separator: str = Field("|", description="between the tags in one column")
    image: Column | None = Field(None, description="column of an image file, from the folder of the settings")
    audio: Column | None = Field(None, description="column of an audio file")
    attributes: Columns = Field([], description="further columns to keep")
    unseen: Literal["keep", "drop"] = Field("keep", description="items of the file that have no event")

    @model_validator(mode="after")
    def _has_id(self) -> ItemsConfig:
        if self.path is not None and self.item is None:
            raise ValueError("an items file needs `item`, the column of the id")
        return self

    @property
    def key(self) -> Column | None:
        return self.item

    @property
    def only_seen(self) -> bool:
        return self.unseen == "drop"

    def described(self) -> list[Column]:
        every = (self.title, self.text, self.category, self.tags, self.image, self.audio, self.attributes)
        return [column for columns in every for column in listed(columns)]


class UsersConfig(FileConfig, frozen=True, extra="forbid"):
    user: Column | None = Field(None, description="column of the user; needed when path is given")
    age: Column | None = Field(None, description="column of the age, or of the lower end of an age band")
    gender: Column | None = Field(None, description="column of the gender")
    region: Column | None = Field(None, description="column of the country, region or postal code")
    attributes: Columns = Field([], description="further columns to keep")

    @model_validator(mode="after")
    def _has_id(self) -> UsersConfig:
        if self.path is not None and self.user is None:
            raise ValueError("a users file needs `user`, the column of the id")
        return self

    @property
    def key(self) -> Column | None:
        return self.user

    @property
    def only_seen(self) -> bool:
        return False

    def described(self) -> list[Column]:
        every = (self.age, self.gender, self.region, self.attributes)
        return [column for columns in every for column in listed(columns)]


def listed(columns: Columns | None) -> list[Column]:
    if columns is None:
        return []
    return columns if isinstance(columns, list) else [columns]


def name_of(column: Column, inputs: Sequence[Input]) -> str:
    """The name of a column given by name or by number, which every file must have; DataError names those there are."""
    for each in inputs:
        there, name, where = each.columns, each.file.location.name, str(each.file.location)
        if each.dialect.format == "csv" and len(there) == 1:
            fix = f"is the separator {each.dialect.separator!r} right? set `separator`"
            raise DataError(f"{name} has one column only: {there[0][:60]!r}", where=where, fix=fix)
        if isinstance(column, int) and column < len(there):
            column = there[column]
        if column not in there:
            near = did_you_mean(str(column), there)
            listed = "" if near.startswith("there are") else f" there are: {', '.join(there)}"
            raise DataError(f"there is no column {column!r} in {name}", where=where, fix=near + listed)
    return str(column)
