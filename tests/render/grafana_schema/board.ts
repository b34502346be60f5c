// What Grafana calls a dashboard, as it stands in JSON, with the options of the panels that our boards use.
import type * as grafana from "@grafana/schema";
import type { Options as StatOptions } from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type { FieldConfig as TableField, Options as TableOptions } from "@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen";
import type { FieldConfig as SeriesField, Options as SeriesOptions } from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

// An enum is its value in JSON, and what is left out is Grafana's default.
type Json<T> = T extends string ? `${T}`
  : T extends number | boolean | null | undefined ? T
  : T extends readonly (infer Item)[] ? Json<Item>[]
  : T extends object ? { [Key in keyof T]: Json<T[Key]> }
  : T;
type Given<T> = T extends readonly (infer Item)[] ? Item[] : T extends object ? { [Key in keyof T]?: Given<T[Key]> } : T;

// The query of the Prometheus data source is not part of the package.
interface Target {
  refId: string;
  datasource: grafana.DataSourceRef;
  expr: string;
  legendFormat?: string;
  format?: "time_series" | "table" | "heatmap";
  instant?: boolean;
  range?: boolean;
  interval?: string;
  editorMode?: "code" | "builder";
}

type Defaults<Custom> = Omit<grafana.FieldConfig, "custom"> & { custom?: Given<Custom> };
type Field<Custom> = Omit<grafana.FieldConfigSource, "defaults"> & { defaults: Defaults<Custom> };
type Own = "type" | "options" | "fieldConfig" | "targets" | "datasource";
type Panel<Type extends string, Options, Custom> = Omit<grafana.Panel, Own> & {
  type: Type;
  datasource: grafana.DataSourceRef;
  targets: Target[];
  options: Given<Options>;
  fieldConfig: Field<Custom>;
};
type AnyPanel =
  | Panel<"timeseries", SeriesOptions, SeriesField>
  | Panel<"stat", StatOptions, object>
  | Panel<"table", TableOptions, TableField>;
type Row = Omit<grafana.RowPanel, "panels"> & { panels: AnyPanel[] };
type Annotation = Omit<grafana.AnnotationQuery, "target"> & { expr?: string; step?: string; titleFormat?: string; textFormat?: string; tagKeys?: string; useValueForTime?: boolean };

export type Board = Json<
  Omit<grafana.Dashboard, "panels" | "annotations"> & { panels: (AnyPanel | Row)[]; annotations: { list: Annotation[] } }
>;
