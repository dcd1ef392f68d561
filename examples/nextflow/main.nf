// The files of a folder are embedded, and annotated if a reference is named, by jobs that share the work.
//
//     nextflow run main.nf --cells my-cells --model gf-12L-95M-i4096 --shares 8
//
// The result is OUTPUT/embed.h5ad, and OUTPUT/annotate.h5ad. All jobs write their shards to OUTPUT/TASK-run, so
// that the output, like the cells, must lie on disks that all of them see. A job that was stopped goes on there.

params.cells = 'cells'              // a folder of files with raw counts
params.output = 'results'
params.shares = 8                   // jobs that do the work together
params.merged = 'h5ad'              // what their shards become in the end: h5ad, parquet or csv
params.model = 'rankformer-mini'    // a name that `rankformer models` lists, or the folder of a model
params.reference = ''               // a labelled .h5ad; empty: cells are not annotated
params.label = 'cell_type'          // the column of the reference's obs
params.options = '--dtype float32'  // for `embed` and `annotate`; float32 gives the same on every machine
params.annotate_options = ''        // for `annotate` alone, such as --min-share 0.7

// Files go by their names, and are not staged: a run knows its inputs by where they lie.
process SHARE {
    tag "${task_name} ${share} of ${params.shares}"
    cpus 4
    memory '8 GB'
    // 2: the command or its input is wrong. 3: some files could not be read. All else is tried again.
    errorStrategy { task.exitStatus in [2, 3] ? 'finish' : 'retry' }
    maxRetries 5

    input:
    tuple val(task_name), val(share), val(cells), val(run), val(words)

    output:
    tuple val(task_name), val(run)

    script:
    """
    rankformer ${task_name} "${cells}" -o "${run}" --shard ${share}/${params.shares} \\
        --model "${params.model}" --threads ${task.cpus} ${words} ${params.options}
    """
}

process MERGE {
    tag "${task_name}"
    memory '8 GB'
    publishDir params.output, mode: 'copy'

    input:
    tuple val(task_name), val(run)

    output:
    path "${task_name}.${params.merged}*"

    script:
    """
    rankformer merge "${run}" -o "${task_name}.${params.merged}"
    """
}

workflow {
    cells = file(params.cells, checkIfExists: true)
    output = file(params.output)
    output.mkdirs()
    tasks = [['embed', '']]
    if (params.reference) {
        reference = file(params.reference, checkIfExists: true)
        tasks << ['annotate', "--reference '${reference}' --label '${params.label}' ${params.annotate_options}"]
    }
    shares = channel.fromList(tasks)
        .combine(channel.of(1..(params.shares as int)))
        .map { name, words, share -> tuple(name, share, cells.toString(), "${output}/${name}-run".toString(), words) }
    done = SHARE(shares)
    // Once for each task, after all of its shares.
    MERGE(done.groupTuple().map { name, runs -> tuple(name, runs[0]) })
}
