// Each .h5ad file of a folder is embedded, and annotated if a reference is named: a job for each.
//
//     nextflow run main.nf --cells my-cells --model gf-12L-95M-i4096
//
// The embeddings of all files are gathered in one table, OUTPUT/embeddings.parquet.

params.cells = 'cells'              // a folder of .h5ad files with raw counts
params.output = 'results'
params.model = 'rankformer-mini'    // a name that `rankformer models` lists, or the folder of a model
params.reference = ''               // a labelled .h5ad; empty: cells are not annotated
params.label = 'cell_type'          // the column of the reference's obs
params.options = '--dtype float32'  // for `embed` and `annotate`; float32 gives the same on every machine
params.annotate_options = ''        // for `annotate` alone, such as --min-share 0.7

process EMBED {
    tag "${cells.baseName}"
    cpus 4
    memory '8 GB'
    publishDir "${params.output}/embedded", mode: 'copy'

    input:
    path cells, stageAs: 'input/*'

    output:
    path "${cells.name}"

    script:
    """
    rankformer embed "${cells}" -o "${cells.name}" --model "${params.model}" --threads ${task.cpus} ${params.options}
    """
}

process ANNOTATE {
    tag "${cells.baseName}"
    cpus 4
    memory '8 GB'
    publishDir "${params.output}/annotated", mode: 'copy'

    input:
    path cells, stageAs: 'input/*'
    path reference, stageAs: 'reference/*'

    output:
    path "${cells.baseName}.csv"
    path "${cells.baseName}.csv.json"

    script:
    """
    rankformer annotate "${cells}" --reference "${reference}" --label "${params.label}" \\
        -o "${cells.baseName}.csv" --model "${params.model}" --threads ${task.cpus} \\
        ${params.options} ${params.annotate_options}
    """
}

process GATHER {
    publishDir params.output, mode: 'copy'

    input:
    path program
    path embedded

    output:
    path 'embeddings.parquet'

    script:
    """
    python "${program}" embeddings.parquet *.h5ad
    """
}

workflow {
    cells = channel.fromPath("${params.cells}/*.h5ad", checkIfExists: true)
    embedded = EMBED(cells)
    GATHER(file("${projectDir}/../gather_embeddings.py"), embedded.collect())
    if (params.reference) {
        ANNOTATE(cells, file(params.reference, checkIfExists: true))
    }
}
